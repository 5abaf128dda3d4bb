"""Asks the cluster for the facts, through confluent-kafka's AdminClient: reads only, and creates no topic."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

# confluent_kafka.admin hides these from type checkers.
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._topic import TopicDescription

from eventpub import librdkafka
from eventpub.check.facts import TOPIC_DENIED, UNKNOWN_TOPIC, Absent, Partition, Topic, Topics
from eventpub.config import KafkaConfig
from eventpub.profile import as_seconds

T = TypeVar("T")


class AskingError(Exception):
    """The cluster could not be asked; the message says why."""


class NobodyAnsweredError(AskingError):
    """There was nobody to ask: findings of their own say why."""


class Inquiry:
    """One AdminClient, to be closed. Every call blocks; not for the event loop.

    Args:
        config: the cluster, and as whom.
        client_id: what brokers call the application.
        token: for ``OAUTHBEARER``, see `librdkafka.settings`.

    Raises:
        AskingError: librdkafka takes these settings not at all.
    """

    def __init__(self, config: KafkaConfig, client_id: str, token: str | None = None) -> None:
        connect = as_seconds("connect_timeout", config.connect_timeout)
        self._patience = connect + as_seconds("metadata_timeout", config.metadata_timeout)
        try:
            self._admin = AdminClient(librdkafka.settings(config, client_id, token))
        except (KafkaException, ValueError) as error:
            raise AskingError(f"librdkafka does not take these settings: {error}") from error

    def close(self) -> None:
        """End its connections: librdkafka does when nobody refers to the client any more."""
        del self._admin

    def names(self) -> list[str]:
        """Return the topics that this client may see, without Kafka's own.

        Raises:
            AskingError: nobody answered.
        """
        # Never for one topic: librdkafka asks for that in a way which may create it.
        found = _patiently(lambda: self._admin.list_topics(timeout=self._patience).topics)
        return sorted(name for name in found if not name.startswith("__"))

    def topics(self, names: Iterable[str]) -> Topics:
        """Return what the cluster says of the topics called *names*.

        Raises:
            AskingError: nobody answered.
        """
        order = list(dict.fromkeys(names))
        if not order:
            return {}
        described = _patiently(lambda: self._describe(order))
        settings = _patiently(lambda: self._settings([name for name in order if _is_there(described[name])]))
        return {name: _topic(name, described[name], settings.get(name, described[name])) for name in order}

    def _describe(self, names: list[str]) -> dict[str, TopicDescription | KafkaError]:
        futures = self._admin.describe_topics(
            TopicCollection(names), include_authorized_operations=True, request_timeout=self._patience
        )
        return {name: _result(future, 2 * self._patience) for name, future in futures.items()}

    def _settings(self, names: list[str]) -> dict[str, Any]:
        if not names:
            return {}
        resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
        futures = self._admin.describe_configs(resources, request_timeout=self._patience)
        return {resource.name: _result(future, 2 * self._patience) for resource, future in futures.items()}


def _result(future: Future[T], patience: float) -> T | KafkaError:
    """Return what came, or the broker's own error; trouble on the way there is raised.

    The request has a time limit of its own; *patience* is for a librdkafka that does not keep it.
    """
    try:
        error = future.exception(patience)
    except TimeoutError as late:
        raise AskingError(f"librdkafka did not answer within {patience:g} s") from late
    if not isinstance(error, KafkaException):
        return future.result()
    reason: KafkaError = error.args[0]
    if reason.code() < 0:  # librdkafka's, not a broker's
        raise error
    return reason


def _patiently(question: Callable[[], T], tries: int = 3) -> T:
    """Ask again if librdkafka gave a question up because it changed connections meanwhile."""
    try:
        return question()
    except KafkaException as error:
        reason: KafkaError = error.args[0]
        if reason.code() != KafkaError._DESTROY_BROKER or tries == 1:  # noqa: SLF001 - its public name
            raise AskingError(reason.str()) from error
    return _patiently(question, tries - 1)


def _values(answer: Any) -> Mapping[str, str] | None:
    """Return a topic's settings, ``None`` where this client may not see them."""
    if isinstance(answer, KafkaError):
        if answer.code() == TOPIC_DENIED:
            return None
        raise AskingError(answer.str())
    return {name: entry.value for name, entry in answer.items() if entry.value is not None}


def _is_there(answer: Any) -> bool:
    return not isinstance(answer, KafkaError)


def _topic(name: str, answer: TopicDescription | KafkaError, settings: Any) -> Topic | Absent:
    """Return what the two answers about a topic come to."""
    if isinstance(answer, KafkaError):
        return Absent(name, answer.code(), answer.str())
    if isinstance(settings, KafkaError) and settings.code() == UNKNOWN_TOPIC:
        # They came from another broker, which does not know a new topic yet.
        return Absent(name, settings.code(), settings.str())
    operations = answer.authorized_operations
    allowed = None if operations is None else frozenset(operation.name for operation in operations)
    return Topic(name, tuple(map(_partition, answer.partitions)), _values(settings), allowed)


def _partition(described: Any) -> Partition:
    # A partition without a leader has a node that is nowhere.
    leader = described.leader.id if described.leader is not None and described.leader.id >= 0 else None
    replicas, in_sync = ([node.id for node in nodes] for nodes in (described.replicas, described.isr))
    return Partition(described.id, leader, tuple(replicas), tuple(in_sync))
