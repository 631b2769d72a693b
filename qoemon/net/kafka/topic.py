from confluent_kafka import KafkaException
from qoemon.net.kafka.reader import Reader


class KafkaUnreachableError(Exception): ...


class TopicError(Exception): ...


def check_topic(options, topic, least):
    reader = Reader(options, topic)
    try:
        n = reader.partitions()
    except KafkaException as e:
        raise KafkaUnreachableError(str(e)) from None
    finally:
        reader.close()
    if n < least:
        raise TopicError(f"topic {topic}: {n}")
    return n
