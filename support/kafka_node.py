"""Apache Kafka without Docker: KRaft nodes as child processes, out of the jars of `make kafka`.

Each node can be killed, stopped, paused and started again by itself. Whatever happens to
this process, its nodes end with it.
"""

from __future__ import annotations

import base64
import random
import re
import shutil
import signal
import socket
import subprocess
import time
import uuid
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from support.fault_proxy import Route
from support.readback import brokers_in_metadata

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Layout = Literal["one", "three", "split"]

ROOT = Path(__file__).resolve().parent.parent
JARS = ROOT / ".cache" / "kafka" / "libs"
OLDEST_JAVA = 17

_CONTROLLER = 9  # of the layout "split"
_JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_LOGGING = """\
status = error
rootLogger.level = warn
rootLogger.appenderRef.f.ref = f
appender.f.type = Console
appender.f.name = f
appender.f.target = SYSTEM_ERR
appender.f.layout.type = PatternLayout
appender.f.layout.pattern = %d %p %c{1}: %m%n
"""
# Small enough for a laptop, quick enough in a failover for a test: a dead broker is noticed
# after three seconds. No topic comes into being because somebody mistyped its name.
_COMMON = {
    "listener.security.protocol.map": "INT:PLAINTEXT,EXT:PLAINTEXT,PRX:PLAINTEXT,CTL:PLAINTEXT",
    "controller.listener.names": "CTL",
    "auto.create.topics.enable": "false",
    "offsets.topic.num.partitions": "3",
    "transaction.state.log.num.partitions": "3",
    "group.initial.rebalance.delay.ms": "0",
    "num.network.threads": "2",
    "num.io.threads": "2",
    "log.cleaner.dedupe.buffer.size": "2097152",
    # Tests choose timestamps, and retention goes by them: what is dated 2023 was gone at the first
    # check, 30 s after the start, where a machine was slow.
    "log.retention.ms": "-1",
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "3000",
    "replica.lag.time.max.ms": "6000",
}
# At end of input, which is when the process that holds the other end of the pipe is gone.
_WATCHDOG = 'cat >/dev/null; cat "$1"/*.pid 2>/dev/null | xargs -r kill -9 2>/dev/null'


class KafkaUnavailableError(RuntimeError):
    """Apache Kafka cannot be run here, or did not come up. The message is for a person."""


def missing() -> str | None:
    """Say in one line what is missing to run Apache Kafka here; ``None`` if nothing is."""
    if shutil.which("java") is None:
        return f"Apache Kafka needs Java {OLDEST_JAVA} or later, and there is no java here"
    if (version := java_version()) < OLDEST_JAVA:
        return f"Apache Kafka needs Java {OLDEST_JAVA} or later, and this is Java {version}"
    if not (JARS / ".complete").exists():
        maven = "" if shutil.which("mvn") else ", which needs Maven (there is no mvn here)"
        return f"Apache Kafka's jars are missing: `make kafka` fetches them{maven}"
    return None


def java_version() -> int:
    """Return the major version of the ``java`` on the path; 0 if it does not tell."""
    told = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "(\d+)', told.stderr)
    return int(found.group(1)) if found else 0


def free_ports(count: int) -> list[int]:
    """Return *count* ports that nobody listens on, none in the range of outgoing connections.

    A port of that range (from 32768 on Linux) can become the source port of somebody's
    connection while a node is down, and the node cannot start again.
    """
    candidates = random.SystemRandom().sample(range(15000, 32000), 50 * count)
    return [port for port in candidates if _is_free(port)][:count]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Node:
    """One node's place: its id, its roles, its ports.

    Clients that come in on ``proxied`` are told to connect to ``proxy``, where a fault proxy
    may listen; all others are not concerned by it.
    """

    id: int
    roles: str
    internal: int
    external: int
    controller: int
    proxied: int
    proxy: int

    @property
    def is_broker(self) -> bool:
        """Whether clients may connect to it."""
        return "broker" in self.roles

    @property
    def is_controller(self) -> bool:
        """Whether it votes in the metadata quorum."""
        return "controller" in self.roles

    @property
    def listeners(self) -> dict[str, str]:
        """Return its listener properties."""
        ports = {"CTL": self.controller} if self.is_controller else {}
        reachable = {"INT": self.internal, "EXT": self.external, "PRX": self.proxied} if self.is_broker else {}
        found = {"listeners": _addresses(ports | reachable)}
        if self.is_broker:
            found["advertised.listeners"] = _addresses(reachable | {"PRX": self.proxy})
            found["inter.broker.listener.name"] = "INT"
        return found


def _addresses(ports: Mapping[str, int]) -> str:
    return ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())


def _plan(layout: Layout) -> list[Node]:
    if layout == "split":
        roles = {_CONTROLLER: "controller", 1: "broker", 2: "broker", 3: "broker"}
    else:
        roles = dict.fromkeys([1] if layout == "one" else [1, 2, 3], "broker,controller")
    ports = iter(free_ports(5 * len(roles)))
    return [Node(i, role, *islice(ports, 5)) for i, role in roles.items()]


class ApacheKafka:
    """A cluster of Apache Kafka on the loopback interface. Not thread-safe; every call blocks.

    Layouts: ``one`` node; ``three`` nodes, each broker and controller; ``split``: one
    controller (node 9) and three brokers. Take ``split`` to stop or pause two brokers of
    three: two stopped nodes of ``three`` take the metadata quorum along.

    A killed node loses nothing that it had answered: the page cache outlives the process.
    So this proves nothing about power loss.
    """

    def __init__(
        self,
        directory: Path,
        layout: Layout = "one",
        *,
        properties: Mapping[str, str] | None = None,
        heap: str = "256m",
    ) -> None:
        """Plan a cluster; nothing runs yet.

        Args:
            directory: Where its data, properties and logs go. Deleting it is the caller's.
            layout: See above.
            properties: Broker properties on top of (and instead of) the usual ones.
            heap: Java heap of each node.
        """
        self.directory = directory
        self.nodes = {node.id: node for node in _plan(layout)}
        self._properties = dict(properties or {})
        self._java = ("java", f"-Xms{heap}", f"-Xmx{heap}", *_JVM)
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._watchdog: subprocess.Popen[bytes] | None = None

    @property
    def brokers(self) -> list[int]:
        """Return the ids of the nodes that clients talk to."""
        return [node.id for node in self.nodes.values() if node.is_broker]

    @property
    def bootstrap_servers(self) -> str:
        """Return ``host:port,host:port``, one for each broker."""
        ports = [node.external for node in self.nodes.values() if node.is_broker]
        return ",".join(f"127.0.0.1:{port}" for port in ports)

    @property
    def url(self) -> str:
        """Return the target for a ``Publisher``."""
        return f"kafka://{self.bootstrap_servers}"

    @property
    def routes(self) -> dict[int, Route]:
        """Return where a `FaultProxy` before these brokers has to listen; its clients stay behind it."""
        brokers = [node for node in self.nodes.values() if node.is_broker]
        return {node.id: Route(node.proxy, ("127.0.0.1", node.proxied)) for node in brokers}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def start(self, timeout: float = 60) -> None:
        """Format and start every node; return once all brokers are in the metadata.

        Raises:
            KafkaUnavailableError: something is missing here, or a node did not come up.
        """
        if reason := missing():
            raise KafkaUnavailableError(reason)
        self.directory.mkdir(parents=True, exist_ok=True)
        self._watch()
        try:
            self._write_files()
            self._format()
            for node in self.nodes:
                self._launch(node)
            self.wait_for_brokers(timeout=timeout)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill every node and wait until it is gone. Safe to call twice."""
        for node in list(self._running):
            self.kill(node)
        if self._watchdog is not None:
            self._watchdog.communicate()
            self._watchdog = None

    def start_node(self, node: int, timeout: float = 60) -> None:
        """Start a node that was killed or terminated; return once it is in the metadata again."""
        self._launch(node)
        if self.nodes[node].is_broker:
            self.wait_for_brokers([node], timeout=timeout)

    def kill(self, node: int) -> None:
        """End a node at once (SIGKILL), as if its process had crashed."""
        self._end(node, signal.SIGKILL, timeout=30)

    def terminate(self, node: int) -> None:
        """Let a node hand over its partitions and shut down (SIGTERM); takes some seconds."""
        self._end(node, signal.SIGTERM, timeout=60)

    def pause(self, node: int) -> None:
        """Freeze a node (SIGSTOP): its sockets stay open, and nothing answers."""
        self._running[node].send_signal(signal.SIGSTOP)

    def resume(self, node: int) -> None:
        """Let a paused node go on."""
        self._running[node].send_signal(signal.SIGCONT)

    def restore(self, timeout: float = 60) -> None:
        """Resume every node, start those that do not run, and return once all brokers are in the metadata."""
        for node in self.nodes:
            if node in self._running:
                self.resume(node)
            else:
                self._launch(node)
        self.wait_for_brokers(timeout=timeout)

    def log(self, node: int) -> str:
        """Return what a node wrote about itself (warnings and errors)."""
        return (self.directory / f"{node}.log").read_text(errors="replace")

    def wait_for_brokers(self, nodes: Iterable[int] = (), *, timeout: float = 60) -> None:
        """Return once *nodes* (default: every broker) are in the metadata.

        Raises:
            KafkaUnavailableError: a node ended, or they are not there after *timeout* seconds.
        """
        wanted = set(nodes) or set(self.brokers)
        patience = time.monotonic() + timeout
        while not wanted <= brokers_in_metadata(self.bootstrap_servers):
            self._raise_if_ended()
            if time.monotonic() > patience:
                raise KafkaUnavailableError(
                    f"brokers {sorted(wanted)} are not in the metadata after {timeout:g} s; "
                    f"their logs are in {self.directory}"
                )

    def _raise_if_ended(self) -> None:
        for node, process in self._running.items():
            if process.poll() is not None:
                raise KafkaUnavailableError(f"node {node} ended by itself:\n{self.log(node)[-2000:]}")

    def _write_files(self) -> None:
        (self.directory / "log4j2.properties").write_text(_LOGGING)
        for node in self.nodes.values():
            lines = [f"{name}={value}\n" for name, value in self._properties_of(node).items()]
            self._file(node.id).write_text("".join(lines))

    def _properties_of(self, node: Node) -> dict[str, str]:
        replicas, in_sync = len(self.brokers), min(2, len(self.brokers))
        voters = [f"{n.id}@127.0.0.1:{n.controller}" for n in self.nodes.values() if n.is_controller]
        return (
            {
                "process.roles": node.roles,
                "node.id": str(node.id),
                "controller.quorum.voters": ",".join(voters),
                "log.dirs": str(self.directory / f"data{node.id}"),
                "default.replication.factor": str(replicas),
                "min.insync.replicas": str(in_sync),
                "offsets.topic.replication.factor": str(replicas),
                "transaction.state.log.replication.factor": str(replicas),
                "transaction.state.log.min.isr": str(in_sync),
                "share.coordinator.state.topic.replication.factor": str(replicas),
                "share.coordinator.state.topic.min.isr": str(in_sync),
            }
            | node.listeners
            | _COMMON
            | self._properties
        )

    def _format(self) -> None:
        cluster = "A" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
        # Side by side: each takes two seconds, nearly all of it Java's own start.
        tools = {node: self._run(node, "kafka.tools.StorageTool", "format", "-t", cluster, "-c") for node in self.nodes}
        for node, process in tools.items():
            if process.wait() != 0:
                raise KafkaUnavailableError(f"node {node} cannot be formatted:\n{self.log(node)}")

    def _launch(self, node: int) -> None:
        process = self._run(node, "kafka.Kafka")
        self._running[node] = process
        self._pid_file(node).write_text(f"{process.pid}\n")

    def _run(self, node: int, main_class: str, *arguments: str) -> subprocess.Popen[bytes]:
        logging = f"-Dlog4j2.configurationFile={self.directory / 'log4j2.properties'}"
        # Java itself expands the asterisk of a class path.
        command = [*self._java, logging, "-cp", f"{JARS}/*", main_class, *arguments]
        with (self.directory / f"{node}.log").open("ab") as log:
            return subprocess.Popen(
                [*command, str(self._file(node))],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests; they then end the nodes
            )

    def _end(self, node: int, how: signal.Signals, timeout: float) -> None:
        process = self._running.pop(node)
        # First, so that the watchdog never kills a stranger that got the same id later.
        self._pid_file(node).unlink(missing_ok=True)
        process.send_signal(how)
        try:
            process.wait(timeout)
        except BaseException:
            process.kill()
            process.wait()
            raise

    def _watch(self) -> None:
        for stale in self.directory.glob("*.pid"):
            stale.unlink()
        self._watchdog = subprocess.Popen(
            ["sh", "-c", _WATCHDOG, "watchdog", str(self.directory)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def _file(self, node: int) -> Path:
        return self.directory / f"{node}.properties"

    def _pid_file(self, node: int) -> Path:
        return self.directory / f"{node}.pid"
