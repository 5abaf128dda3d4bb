"""Apache Kafka for the tests: one node for the whole session, three for a module, and proxies before them."""

from __future__ import annotations

import contextlib
import os
import uuid
from typing import TYPE_CHECKING, Protocol

import pytest

from support import kafka_node as nodes
from support import readback
from support.fault_proxy import FaultProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

# A node has to start within the first test that asks for it, also on a busy machine.
_TIMEOUT = 120
NOT_RUN = "not run on Apache Kafka: "
_CLUSTERS = frozenset({"kafka_node", "three_nodes", "split_nodes"})


class MakeTopic(Protocol):
    """Creates a topic under a name that no other test has, and returns the name."""

    def __call__(self, partitions: int = 1, /, **config: str) -> str: ...


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that asks for a node, and give it time."""
    for item in items:
        if not _CLUSTERS.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.kafka)
        if item.get_closest_marker("kafka"):
            # One worker for all of them: two would run two sets of nodes on the same cores.
            item.add_marker(pytest.mark.xdist_group("kafka"))
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(_TIMEOUT))


@pytest.fixture(scope="session")
def kafka_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[nodes.ApacheKafka]:
    """Run one node until the session ends. A test that hurts it needs a node of its own."""
    require_kafka()
    with nodes.ApacheKafka(tmp_path_factory.mktemp("kafka")) as kafka:
        yield kafka


@pytest.fixture(scope="module")
def _three_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[nodes.ApacheKafka]:
    require_kafka()
    with nodes.ApacheKafka(tmp_path_factory.mktemp("three"), "three") as kafka:
        yield kafka


@pytest.fixture
def three_nodes(_three_nodes: nodes.ApacheKafka) -> Iterator[nodes.ApacheKafka]:
    """Run three nodes, each broker and controller, that a test may hurt: afterwards all run again."""
    yield _three_nodes
    _three_nodes.restore()


@pytest.fixture(scope="module")
def _split_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[nodes.ApacheKafka]:
    require_kafka()
    with nodes.ApacheKafka(tmp_path_factory.mktemp("split"), "split") as kafka:
        yield kafka


@pytest.fixture
def split_nodes(_split_nodes: nodes.ApacheKafka) -> Iterator[nodes.ApacheKafka]:
    """Run a controller and three brokers, of which a test may stop two: afterwards all run again."""
    yield _split_nodes
    _split_nodes.restore()


@pytest.fixture
def kafka_proxy(kafka_node: nodes.ApacheKafka) -> Iterator[FaultProxy]:
    """Put a fault proxy before the session's node. A fault that never struck fails the test."""
    with proxied(kafka_node) as proxy:
        yield proxy


@contextlib.contextmanager
def proxied(kafka: nodes.ApacheKafka) -> Iterator[FaultProxy]:
    """Run a fault proxy before each broker of a cluster; one cluster has one at a time."""
    with FaultProxy(kafka.routes) as proxy:
        yield proxy
        idle = proxy.faults.without_effect
        assert not idle, f"faults that never struck, so nothing was shown: {idle}"


@pytest.fixture
def kafka_topic(kafka_node: nodes.ApacheKafka) -> MakeTopic:
    """Make topics on the session's node: ``kafka_topic(4, max_message_bytes="20000")``."""

    def make(partitions: int = 1, /, **config: str) -> str:
        settings = {name.replace("_", "."): value for name, value in config.items()}
        name = f"t-{uuid.uuid4()}"
        return readback.create_topic(kafka_node.bootstrap_servers, name, partitions, config=settings)

    return make


def require_kafka() -> None:
    """Skip the test where Apache Kafka cannot run."""
    if reason := nodes.missing():
        pytest.skip(NOT_RUN + reason)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let the run fail where ``CI`` is set and a test on Apache Kafka was skipped."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter is not None and _not_run(reporter):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say once, in one line, what kept the tests on Apache Kafka from running."""
    if reasons := _not_run(terminalreporter):
        in_ci = " (this fails the run, because CI is set)" if os.environ.get("CI") else ""
        terminalreporter.write_line(f"{len(reasons)} tests {reasons[0]}{in_ci}", yellow=True)


def _not_run(reporter: pytest.TerminalReporter) -> list[str]:
    reports = reporter.stats.get("skipped", ())
    reasons = [report.longrepr[2] for report in reports if isinstance(report.longrepr, tuple)]
    return [reason.removeprefix("Skipped: ") for reason in reasons if NOT_RUN in reason]
