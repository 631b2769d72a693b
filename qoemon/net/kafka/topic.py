"""Checks that the topic exists and is as qoemon needs it, before anything is written to it or read from it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]  # it is

from qoemon.net.kafka.client import Options, describe_error, option_error

if TYPE_CHECKING:
    from concurrent.futures import Future

LOG = logging.getLogger("qoemon.net.kafka")

ANSWER_S = 5.0
"""How long one answer of Kafka may take."""

USUAL_COPIES = 3
"""Replication factor of a topic in the advice; fewer if there are fewer brokers."""

_RIGHTS = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED}


class KafkaUnreachable(Exception):  # noqa: N818 - a state of the moment, which may pass
    """Kafka gives no answer; the message names the brokers and the reason."""


class TopicError(Exception):
    """The topic is missing, or not as it must be; the message says how to change that."""


def check_topic(options: Options, topic: str, least: int, record_bytes: int = 0) -> int:
    """The number of partitions of the topic. Waits for Kafka.

    Logs a warning if the time of its records is that of the client. It is not created where Kafka creates topics at
    their first use, since that has partitions and a time of record which nobody chose.

    least         partitions that it must have
    record_bytes  size of a record that it must accept
    raises        KafkaUnreachable, TopicError; OptionError if the client does not accept its options
    """
    return _Check(options, topic).partitions(least, record_bytes)


class _Check:
    def __init__(self, options: Options, topic: str) -> None:
        self._topic, self._brokers, self._reason = topic, str(options["bootstrap.servers"]), ""
        try:
            self._admin = AdminClient({**options, "error_cb": self._failed})  # type: ignore[dict-item]
        except KafkaException as error:
            raise option_error(error) from None

    def partitions(self, least: int, record_bytes: int) -> int:
        try:
            described = self._answer(
                self._admin.describe_topics(TopicCollection([self._topic]), request_timeout=ANSWER_S)
            )
        except KafkaException as error:
            raise self._refused(error, least) from None
        found = len(described.partitions)
        if found < least:
            raise TopicError(
                f"topic {self._topic} at {self._brokers} has {found} partitions, expected at least {least} "
                "(kafka.partitions): lower kafka.partitions, or add partitions, which only a new checkpoint may "
                f"follow: {self._command('topics', f'--alter --topic {self._topic} --partitions {least}')}"
            )
        self._check_settings(record_bytes)
        return found

    def _check_settings(self, record_bytes: int) -> None:
        resource = ConfigResource(ResourceType.TOPIC, self._topic)
        try:
            found = self._answer(self._admin.describe_configs([resource], request_timeout=ANSWER_S))
        except KafkaException as error:
            if error.args[0].code() in _RIGHTS:
                LOG.warning(
                    "cannot check the settings of topic %s: %s; allow DescribeConfigs, or see to it that it has "
                    "message.timestamp.type=LogAppendTime",
                    self._topic,
                    describe_error(error),
                )
                return
            raise self._refused(error, 1) from None
        settings = {name: entry.value for name, entry in found.items()}
        most = int(settings.get("max.message.bytes") or record_bytes)
        if most < record_bytes:
            raise TopicError(
                f"topic {self._topic} at {self._brokers} accepts records of up to {most} bytes, expected at least "
                f"{record_bytes} (limits.message_bytes): {self._set(f'max.message.bytes={record_bytes}')}"
            )
        if settings.get("message.timestamp.type", "LogAppendTime") != "LogAppendTime":
            LOG.warning(
                "topic %s has message.timestamp.type=%s, expected LogAppendTime: a clock of a client that is wrong "
                "puts reports into a wrong tick: %s",
                self._topic,
                settings["message.timestamp.type"],
                self._set("message.timestamp.type=LogAppendTime"),
            )

    def _refused(self, error: KafkaException, least: int) -> Exception:
        """What an error means: the topic is missing, or Kafka cannot be reached."""
        told: KafkaError = error.args[0]
        if told.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return TopicError(
                f"there is no topic {self._topic} at {self._brokers}: create it: {self._creation(least)}"
            )
        if told.code() in _RIGHTS:
            return TopicError(
                f"topic {self._topic} at {self._brokers}: {describe_error(told)}; allow Describe, and Write or Read"
            )
        self._admin.poll(0)
        reason = self._reason or describe_error(told)
        return KafkaUnreachable(f"cannot reach Kafka at {self._brokers}: {reason}")

    def _creation(self, partitions: int) -> str:
        try:
            brokers = len(self._admin.list_topics(topic="", timeout=ANSWER_S).brokers)
        except KafkaException:
            brokers = USUAL_COPIES
        return self._command(
            "topics",
            f"--create --topic {self._topic} --partitions {partitions} "
            f"--replication-factor {min(brokers, USUAL_COPIES)} --config message.timestamp.type=LogAppendTime",
        )

    def _set(self, setting: str) -> str:
        return self._command(
            "configs", f"--alter --entity-type topics --entity-name {self._topic} --add-config {setting}"
        )

    def _command(self, tool: str, rest: str) -> str:
        return f"kafka-{tool}.sh --bootstrap-server {self._brokers} {rest}"

    def _failed(self, error: KafkaError) -> None:
        """Called by poll()."""
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._reason = describe_error(error)

    def _answer(self, asked: dict[Any, Future[Any]]) -> Any:
        (future,) = asked.values()
        try:
            return future.result(2 * ANSWER_S)
        except TimeoutError:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from None
