"""What an administrator does: ask who is there, create a topic."""

from __future__ import annotations

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from qoemon.net.kafka.client import Options, describe_error

ANSWER_S = 30.0
"""How long Kafka may take to create a topic."""


class AdminError(Exception):
    """Kafka refused or did not answer; the message says what it was asked for, and why."""


def broker_ids(options: Options, answer_s: float) -> set[int]:
    """Node ids of the brokers that belong to the cluster; none if it does not answer within this time."""
    try:
        return set(AdminClient(dict(options)).list_topics(timeout=answer_s).brokers)
    except KafkaException:
        return set()


def create_topic(options: Options, name: str, partitions: int, replication: int) -> None:
    """Create a topic; AdminError if that fails, also if there is one of this name."""
    topic = NewTopic(name, num_partitions=partitions, replication_factor=replication)
    client = AdminClient(dict(options))  # It answers only as long as somebody holds it.
    try:
        client.create_topics([topic], request_timeout=ANSWER_S)[name].result()
    except KafkaException as error:
        raise AdminError(f"topic {name} cannot be created: {describe_error(error)}") from None
