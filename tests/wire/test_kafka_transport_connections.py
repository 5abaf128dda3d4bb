"""How a transport gets to its brokers, and how it leaves them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eventpub.abc import Acked, InDoubt, NotSent, TopicPartition
from eventpub.config import KafkaConfig
from eventpub.exceptions import ConfigurationError, StartError, UsageError
from eventpub.testing import EmbeddedKafka
from eventpub.transports.kafka import KafkaTransport
from eventpub.transports.kafka.errors import AccessRefusedError, TransportClosedError
from tests.wire.fake_broker import (
    API_VERSIONS,
    INIT_PRODUCER_ID,
    METADATA,
    PRODUCE,
    SASL_AUTHENTICATE,
    FakeBroker,
    running,
)
from tests.wire.kafka_client import Client, client

pytestmark = pytest.mark.wire

# Python 3.13 asks for what RFC 5280 asks for.
STRICT = "basicConstraints=CA:FALSE\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
PLAIN: dict[str, Any] = {
    "sasl_mechanism": "PLAIN",
    "sasl_username": "app",
    "sasl_password": "app-pw",
    "security_protocol": "SASL_PLAINTEXT",
    "insecure": True,
}


@pytest.fixture
async def broker() -> AsyncIterator[FakeBroker]:
    """Run one broker."""
    broker = FakeBroker()
    async with running(broker):
        yield broker


@contextlib.asynccontextmanager
async def black_hole() -> AsyncIterator[str]:
    """Run a server that accepts connections and says nothing."""
    tasks: set[asyncio.Task[Any]] = set()

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(OSError):
            await reader.read()
        writer.transport.abort()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()
        if tasks:
            await asyncio.wait(tasks)


@pytest.fixture
def unaccepting() -> Iterator[str]:
    """Open a port whose backlog is full: a connect to it stays in the handshake."""
    with socket.socket() as listening, contextlib.ExitStack() as fillers:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            filler = fillers.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a CA, and certificates for localhost and for a host that is not here."""
    folder = tmp_path_factory.mktemp("tls")
    openssl(
        folder,
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -addext keyUsage=keyCertSign -keyout ca.key -out ca.pem",
    )
    for name, host in (("broker", "localhost"), ("other", "other.example")):
        openssl(folder, f"req -newkey rsa:2048 -nodes -subj /CN=broker -keyout {name}.key -out {name}.csr")
        (folder / "san").write_text(f"subjectAltName=DNS:{host}\n{STRICT}")
        openssl(
            folder, f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile san -out {name}.pem"
        )
    return folder


def openssl(folder: Path, arguments: str) -> None:
    """Run openssl there."""
    subprocess.run(["openssl", *arguments.split()], cwd=folder, check=True, capture_output=True)


def serving(folder: Path, name: str = "broker") -> ssl.SSLContext:
    """Return the broker's side of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context


# --- finding brokers ----------------------------------------------------------------------


async def test_it_starts_with_nobody_there() -> None:
    """Events wait; readiness says why."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        async with client(f"127.0.0.1:{port}") as kafka:
            await asyncio.sleep(0.1)
            (problem,) = kafka.transport.problems()
            assert str(port) in problem
            waiting = asyncio.create_task(kafka.put())
            await asyncio.sleep(0.1)
            assert not waiting.done()
            waiting.cancel()
            await asyncio.wait([waiting])


async def test_it_finds_a_broker_that_comes_later(broker: FakeBroker) -> None:
    """Without anybody asking again."""
    await broker.stop()
    async with client(broker.address) as kafka:
        waiting = asyncio.create_task(kafka.put())
        await asyncio.sleep(0.3)
        await broker.start()
        assert isinstance(await asyncio.wait_for(waiting, 3), Acked)
        await kafka.transport.connected()


async def test_a_silent_bootstrap_server_costs_a_second(broker: FakeBroker) -> None:
    """Not the whole of connect_timeout."""
    async with black_hole() as silent:
        for _ in range(3):  # the order is random
            async with client(f"{silent},{broker.address}") as kafka:
                await asyncio.wait_for(kafka.transport.connected(), 1.5)


async def test_a_silent_broker_delays_no_other(broker: FakeBroker) -> None:
    """The connects are not behind one lock: aiokafka's client waited for the silent one here."""
    silent = FakeBroker(node=2, silent={API_VERSIONS})
    async with running(silent):
        broker.peers, broker.leaders = [silent], {3: 2}
        async with client(broker.address) as kafka:
            stuck = asyncio.create_task(kafka.put(3))
            await silent.until(API_VERSIONS)
            began = kafka.loop.time()
            for _ in range(5):
                assert isinstance(await kafka.put(0), Acked)
            assert kafka.loop.time() - began < 0.3
            assert not stuck.done()
            assert kafka.transport.problems() == ()
            stuck.cancel()
            await asyncio.wait([stuck])


async def test_a_moved_leader_is_followed(broker: FakeBroker) -> None:
    """Its broker is gone; metadata names another; nobody had to be told an error code."""
    second = FakeBroker(node=2)
    async with running(broker2 := second):
        broker.peers, broker.leaders = [broker2], {0: 2}
        async with client(broker.address) as kafka:
            assert isinstance(await kafka.put(0), Acked)
            broker.leaders = {}
            broker2.silent.add(API_VERSIONS)
            broker2.drop()
            await asyncio.sleep(0.05)
            assert await asyncio.wait_for(kafka.put(0), 3) == Acked(broker.address, 0)


async def test_brokers_that_all_moved_are_found_again() -> None:
    """By the bootstrap servers, to which aiokafka never goes back."""
    first, second = FakeBroker(), FakeBroker()
    bootstrap = FakeBroker(node=9)
    async with running(bootstrap):
        await first.start()
        bootstrap.peers, bootstrap.leaders = [first], dict.fromkeys(range(4), 1)
        async with client(bootstrap.address) as kafka:
            assert isinstance(await kafka.put(), Acked)
            await first.stop()
            await second.start()
            bootstrap.peers = [second]
            assert await asyncio.wait_for(kafka.put(), 3) == Acked(second.address, 0)
        await second.stop()


async def test_added_partitions_are_told(broker: FakeBroker) -> None:
    """When an answer shows them."""
    async with client(broker.address) as kafka:
        assert await kafka.transport.partitions("t") == 4
        broker.partitions = 6
        assert await kafka.transport.partitions("t", fresh=True) == 6
        assert kafka.counts == [("t", 6)]
        assert isinstance(await kafka.put(5), Acked)


async def test_a_restarting_broker_is_not_stormed(broker: FakeBroker) -> None:
    """Eight lanes and three acks values insist for three seconds: a handful of connects each."""
    async with client(broker.address) as kafka:
        for acks in ("all", 1, 0):
            await kafka.put(acks=acks)
        broker.silent.add(API_VERSIONS)
        before = broker.accepted

        async def hang_up() -> None:
            while True:
                broker.drop()
                await asyncio.sleep(0.01)

        storm = asyncio.create_task(hang_up())
        lanes = [asyncio.create_task(kafka.put(n % 4, acks=a)) for n in range(8) for a in ("all", 1, 0)]
        await asyncio.sleep(3)
        assert broker.accepted - before < 4 * 10
        for task in (storm, *lanes):
            task.cancel()
        await asyncio.wait([storm, *lanes])


async def test_embedded_brokers_down_and_up() -> None:
    """The same over librdkafka's brokers: what was in flight is in doubt, the next one is acked."""
    with EmbeddedKafka(2) as embedded:
        embedded.create_topic("t", 2)
        async with client(embedded.bootstrap_servers) as kafka:
            assert isinstance(await kafka.put(), Acked)
            embedded.latency(0.3)
            in_flight = asyncio.create_task(kafka.put())
            await asyncio.sleep(0.1)
            embedded.down()
            assert isinstance(await in_flight, InDoubt)
            embedded.latency(0)
            waiting = asyncio.create_task(kafka.put())
            await asyncio.sleep(0.3)
            assert kafka.transport.problems() != ()
            embedded.up()
            assert isinstance(await asyncio.wait_for(waiting, 5), Acked)
            assert kafka.transport.problems() == ()


async def test_an_idle_client_stays_ready(broker: FakeBroker) -> None:
    """Its broker restarted while nobody wrote: readiness must not wait for a batch that readiness holds back."""
    async with client(broker.address) as kafka:
        await kafka.put()
        broker.drop()
        await asyncio.sleep(0.3)
        assert kafka.transport.problems() == ()


# --- being let in -------------------------------------------------------------------------


async def refused(servers: str, **settings: Any) -> StartError:
    """Return why a transport was not let in."""
    async with client(servers, **settings) as kafka:
        with pytest.raises(StartError) as error:
            await asyncio.wait_for(kafka.transport.connected(), 3)
        assert isinstance(error.value.__cause__, AccessRefusedError)
        assert kafka.transport.problems() != ()
        return error.value


async def test_a_wrong_password_is_told(broker: FakeBroker) -> None:
    """With the broker's own words; aiokafka says only that it is unable to bootstrap."""
    broker.sasl, broker.password = "PLAIN", "other-pw"
    error = await refused(broker.address, **PLAIN)
    assert "invalid credentials" in str(error)
    assert "app-pw" not in str(error)


async def test_a_mechanism_that_is_not_offered_is_told(broker: FakeBroker) -> None:
    """Naming it."""
    broker.sasl = "SCRAM-SHA-256"
    assert "sasl_mechanism" in str(await refused(broker.address, **PLAIN))


async def test_an_unknown_ca_is_told(certificates: Path) -> None:
    """The certificate is verified."""
    broker = FakeBroker(tls=serving(certificates))
    async with running(broker):
        error = await refused(f"localhost:{broker.port}", security_protocol="SSL")
        assert "certificate" in str(error).lower()


async def test_a_wrong_host_name_is_told(certificates: Path) -> None:
    """And so is the name it is verified for."""
    broker = FakeBroker(tls=serving(certificates, "other"))
    async with running(broker):
        error = await refused(f"localhost:{broker.port}", ssl_cafile=certificates / "ca.pem")
        assert "localhost" in str(error)


async def test_a_plain_port_is_no_tls_port(broker: FakeBroker) -> None:
    """TLS spoken to a plaintext listener fails the handshake."""

    async def reply(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\0\0\0\4oops")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(reply, "127.0.0.1", 0)
    await refused(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", security_protocol="SSL")
    server.close()
    await server.wait_closed()


async def test_a_tls_port_is_no_plain_port(certificates: Path) -> None:
    """The broker only hangs up, so it is tried again; but the hint is there."""
    broker = FakeBroker(tls=serving(certificates))
    async with running(broker), client(broker.address) as kafka:
        await asyncio.sleep(0.2)
        assert "security_protocol" in kafka.transport.problems()[0]


async def test_a_broker_too_old_is_told(broker: FakeBroker) -> None:
    """Naming what is needed."""
    broker.produce_versions = (0, 3)
    assert "2.1" in str(await refused(broker.address))


async def test_tls_works(certificates: Path) -> None:
    """From a CA file, with the certificate and the name verified."""
    broker = FakeBroker(tls=serving(certificates))
    async with running(broker), client(f"localhost:{broker.port}", ssl_cafile=certificates / "ca.pem") as kafka:
        broker.answers[METADATA] = lambda request: broker.metadata(request).replace(b"127.0.0.1", b"localhost")
        assert isinstance(await kafka.put(), Acked)
        assert isinstance(await kafka.put(0, b"x" * 900_000, acks=0), object)


async def test_a_ca_file_that_is_missing_is_told_at_the_start(tmp_path: Path) -> None:
    """By name, before anything is connected to; and closing such a transport is fine."""
    transport = KafkaTransport(KafkaConfig("127.0.0.1:1", ssl_cafile=tmp_path / "ca.pem"))
    with pytest.raises(ConfigurationError, match=r"ca\.pem"):
        await transport.start(Client(KafkaConfig("127.0.0.1:1")))
    await transport.aclose(0)


async def test_secrets_are_in_no_log(broker: FakeBroker, caplog: pytest.LogCaptureFixture) -> None:
    """With every logger at DEBUG, aiokafka's included, accepted or refused."""
    caplog.set_level(logging.DEBUG)
    broker.sasl = "PLAIN"
    async with client(broker.address, **PLAIN) as kafka:
        await kafka.put()
    broker.password = "other"
    await refused(broker.address, **PLAIN)
    assert broker.count(SASL_AUTHENTICATE) > 1
    assert "app-pw" not in caplog.text
    assert "insecure=True" in caplog.text


async def test_an_expiring_session_is_renewed_unnoticed(broker: FakeBroker) -> None:
    """Two seconds' lifetime, five seconds of batches: all acked, several connections, never past its end."""
    broker.sasl, broker.session_lifetime = "PLAIN", 2.0
    born: dict[int, float] = {}
    worst = 0.0
    async with client(broker.address, **PLAIN) as kafka:
        until = kafka.loop.time() + 5
        while kafka.loop.time() < until:
            assert isinstance(await kafka.put(), Acked)
            request = broker.received[-1]
            worst = max(worst, kafka.loop.time() - born.setdefault(request.connection, kafka.loop.time()))
            await asyncio.sleep(0.005)
    assert len(born) >= 3
    assert worst < 2.0


async def test_a_token_is_asked_for_each_connection(broker: FakeBroker) -> None:
    """So that each session begins with a fresh one."""
    broker.sasl, broker.password = "OAUTHBEARER", "token-"
    given: list[str] = []

    async def provide() -> str:
        given.append(f"token-{len(given)}")
        return given[-1]

    async with client(broker.address, **oauth(provide)) as kafka:
        assert isinstance(await kafka.put(), Acked)
    assert given == ["token-0", "token-1"]


def oauth(provide: Callable[[], Awaitable[str]]) -> dict[str, Any]:
    """Return the settings for a token provider, without TLS."""
    return {
        "sasl_mechanism": "OAUTHBEARER",
        "sasl_token_provider": provide,
        "security_protocol": "SASL_PLAINTEXT",
        "insecure": True,
    }


@pytest.mark.parametrize("error", [ConnectionError("away"), asyncio.CancelledError(), ZeroDivisionError()], ids=repr)
async def test_a_token_provider_that_fails_is_asked_again(broker: FakeBroker, error: BaseException) -> None:
    """Its service may be back in a moment; a cancellation of its own is no cancellation of ours."""
    broker.sasl, broker.password = "OAUTHBEARER", "token"
    calls = 0

    async def provide() -> str:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise error
        return "token"

    async with client(broker.address, **oauth(provide)) as kafka:
        assert isinstance(await asyncio.wait_for(kafka.put(), 3), Acked)


async def test_a_token_that_is_none_is_told(broker: FakeBroker) -> None:
    """A provider that returns something else is a mistake of the program."""
    broker.sasl = "OAUTHBEARER"

    async def provide() -> str:
        return None  # type: ignore[return-value]  # that is the point

    assert "sasl_token_provider" in str(await refused(broker.address, **oauth(provide)))


async def test_a_token_provider_that_hangs_is_given_up(broker: FakeBroker) -> None:
    """At connect_timeout, and at the close."""
    broker.sasl = "OAUTHBEARER"

    async def provide() -> str:
        await asyncio.sleep(3600)
        return "never"

    async with client(broker.address, connect_timeout=0.2, **oauth(provide)) as kafka:
        await asyncio.sleep(0.4)
        assert "connect_timeout" in kafka.transport.problems()[0]


# --- leaving --------------------------------------------------------------------------------


async def test_closing_while_the_kernel_connects(unaccepting: str) -> None:
    """No task and no socket is left (the fixtures look), and nobody waits (`client` looks)."""
    async with client(unaccepting):
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("settings", [{}, {"security_protocol": "SSL"}, PLAIN], ids=["versions", "tls", "sasl"])
async def test_closing_while_a_silent_broker_is_waited_for(settings: dict[str, Any]) -> None:
    """In the version request, in the TLS handshake, in whatever comes first."""
    async with black_hole() as silent, client(silent, **settings):
        await asyncio.sleep(0.1)


async def test_closing_in_the_middle_of_sasl(broker: FakeBroker) -> None:
    """The broker takes the password and says nothing."""
    broker.sasl = "PLAIN"
    broker.silent.add(SASL_AUTHENTICATE)
    async with client(broker.address, **PLAIN):
        await broker.until(SASL_AUTHENTICATE)


async def test_closing_while_metadata_is_waited_for(broker: FakeBroker) -> None:
    """Whoever waits gets a value."""
    broker.silent |= {METADATA, INIT_PRODUCER_ID}
    async with client(broker.address) as kafka:
        count = asyncio.create_task(kafka.transport.partitions("t"))
        ready = asyncio.create_task(kafka.transport.ready(TopicPartition("t", 0), "all"))
        identity = asyncio.create_task(kafka.transport.producer_id())
        start = asyncio.create_task(kafka.transport.connected())
        await broker.until(METADATA)
    assert not isinstance(await count, int)
    assert await ready is None
    assert not isinstance(await identity, tuple)
    with pytest.raises(StartError):
        await start


async def test_closing_ends_attempts_with_their_value(broker: FakeBroker) -> None:
    """Written: in doubt. Afterwards nothing is sent any more."""
    async with client(broker.address) as kafka:
        await kafka.put()
        broker.silent.add(PRODUCE)
        written = asyncio.create_task(kafka.put(0, timeout=60))
        await broker.until(PRODUCE, 2)
        await kafka.transport.aclose(kafka.loop.time() + 1)
        result = await written
        assert isinstance(result, InDoubt)
        assert isinstance(result.cause, TransportClosedError)
        after = await kafka.transport.produce(TopicPartition("t", 0), kafka.batch(), "all", kafka.loop.time() + 5)
        assert isinstance(after, NotSent)
        await asyncio.sleep(0.2)
        accepted = broker.accepted
    await asyncio.sleep(0.3)
    assert broker.accepted == accepted


async def test_closing_twice_and_unstarted_is_fine(broker: FakeBroker) -> None:
    """In any order, from any task."""
    async with client(broker.address) as kafka:
        await asyncio.create_task(kafka.transport.aclose(0))
        await kafka.transport.aclose(0)
    unstarted = KafkaTransport(KafkaConfig(broker.address))
    await unstarted.aclose(0)
    with pytest.raises(UsageError):
        await unstarted.start(kafka)


async def test_a_cancelled_close_leaves_nothing(broker: FakeBroker) -> None:
    """All that has to be done is done before the first await."""
    kafka = Client(KafkaConfig(broker.address))
    await kafka.transport.start(kafka)
    await kafka.put()
    broker.silent.add(PRODUCE)
    written = asyncio.create_task(kafka.put(timeout=60))
    await broker.until(PRODUCE, 2)
    closing = asyncio.create_task(kafka.transport.aclose(kafka.loop.time() + 5))
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])
    assert isinstance(await written, InDoubt)


async def test_it_is_started_once() -> None:
    """And used only after that."""
    async with client("127.0.0.1:1") as kafka:
        with pytest.raises(UsageError):
            await kafka.transport.start(kafka)
    with pytest.raises(UsageError):
        await KafkaTransport(KafkaConfig("127.0.0.1:1")).ready(TopicPartition("t", 0), "all")
