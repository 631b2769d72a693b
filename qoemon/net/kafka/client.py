"""Options of the client of Kafka (librdkafka), and its errors in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from confluent_kafka import KafkaError, KafkaException

Option = str | int | float | bool
Options = dict[str, Option]


class OptionError(Exception):
    """The client does not accept an option; the message names it."""


def client_options(brokers: Sequence[str], client: Mapping[str, Option]) -> Options:
    """The options of any client: the brokers HOST:PORT to begin with, and what the operator gave."""
    return {"bootstrap.servers": ",".join(brokers), "log_level": 2, **client}


def describe_error(error: KafkaException | KafkaError) -> str:
    """What happened, as text without the client's prefix."""
    told: KafkaError = error.args[0] if isinstance(error, KafkaException) else error
    return f"{told.str()} ({told.name()})"


def option_error(error: KafkaException) -> OptionError:
    """Why the client could not be made with its options."""
    return OptionError(f"kafka.client: {error.args[0].str()}; see the list of options of librdkafka")
