"""A peer that hangs, hangs up or talks nonsense costs a publish its budget and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from eventpub import CRITICAL, Delivery, PossiblyPersistedError, Publisher, Record, StartError, UnavailableError
from eventpub.config import KafkaConfig
from eventpub.state import Health
from tests.wire import peers
from tests.wire.fake_broker import (
    API_VERSIONS,
    INIT_PRODUCER_ID,
    METADATA,
    PRODUCE,
    SASL_AUTHENTICATE,
    SASL_HANDSHAKE,
    FakeBroker,
    Received,
    running,
)

pytestmark = pytest.mark.wire

BUDGET = 0.4
LATE = 0.25
SASL: dict[str, Any] = {
    "security_protocol": "SASL_PLAINTEXT",
    "sasl_mechanism": "PLAIN",
    "sasl_username": "app",
    "sasl_password": "app-pw",
    "insecure": True,
}
TLS: dict[str, Any] = {"security_protocol": "SSL"}
EVENT = Record("t", b"v", key=b"k")
STAGES = {
    "versions": API_VERSIONS,
    "handshake": SASL_HANDSHAKE,
    "authenticate": SASL_AUTHENTICATE,
    "metadata": METADATA,
    "producer id": INIT_PRODUCER_ID,
    "produce": PRODUCE,
}


@pytest.fixture
async def broker() -> AsyncIterator[FakeBroker]:
    """Run one broker that wants a password."""
    broker = FakeBroker(sasl="PLAIN")
    async with running(broker):
        yield broker


@contextlib.asynccontextmanager
async def publishing(address: str, *, connect_timeout: float = 10.0, **settings: Any) -> AsyncIterator[Publisher]:
    """Open a publisher; close it afterwards, and see that this waits for nobody."""
    config = KafkaConfig(address, connect_timeout=connect_timeout, metadata_timeout=connect_timeout, **settings)
    publisher = Publisher(config)
    await publisher.open()
    loop = asyncio.get_running_loop()
    try:
        yield publisher
    finally:
        began = loop.time()
        await publisher.aclose(0)
        assert loop.time() - began < 0.5, "closing waited for somebody"


async def outcome(
    publisher: Publisher, timeout: float = BUDGET
) -> Delivery | UnavailableError | PossiblyPersistedError:
    """Return what a publish comes to, and see that it keeps its budget."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        return await publisher.publish(EVENT, timeout=timeout)
    except (UnavailableError, PossiblyPersistedError) as error:
        return error
    finally:
        assert loop.time() - began < timeout + LATE


async def at_every_stage(check: Callable[[FakeBroker, str], Awaitable[None]]) -> None:
    """Run *check* for each stage, side by side, on a broker of its own that wants a password."""

    async def at(stage: str) -> None:
        broker = FakeBroker(sasl="PLAIN")
        async with running(broker):
            try:
                await check(broker, stage)
            except BaseException as error:
                error.add_note(f"at the stage {stage!r}")
                raise

    await asyncio.gather(*map(at, STAGES))


def said(health: Health) -> str:
    """Return why a publisher is not ready."""
    assert not health.ready
    return "; ".join(health.reasons)


# --- hanging ----------------------------------------------------------------------------


@pytest.mark.parametrize("connect_timeout", [0.1, 10.0], ids=["gives up", "waits on"])
async def test_a_broker_that_hangs_costs_the_budget(connect_timeout: float) -> None:
    """At whichever stage: not persisted before Produce was written, possibly afterwards; never late."""

    async def check(broker: FakeBroker, stage: str) -> None:
        broker.silent.add(STAGES[stage])
        async with publishing(broker.address, connect_timeout=connect_timeout, **SASL) as publisher:
            ended = await outcome(publisher)
            assert isinstance(ended, PossiblyPersistedError if stage == "produce" else UnavailableError)
            assert ended.reason == "budget"
            # One connection for questions, one for batches; each is tried anew after its limit, and pauses.
            assert broker.accepted <= 10

    await at_every_stage(check)


async def test_a_broker_that_hangs_and_comes_round_gets_the_event() -> None:
    """Within the same budget, without anybody's help."""

    async def check(broker: FakeBroker, stage: str) -> None:
        broker.silent.add(STAGES[stage])
        async with publishing(broker.address, connect_timeout=0.15, **SASL) as publisher:
            profile = CRITICAL.replace(request_timeout=0.3)
            publish = asyncio.create_task(publisher.publish(EVENT, profile=profile, timeout=8))
            await broker.until(STAGES[stage])
            await asyncio.sleep(0.4)
            broker.silent.clear()
            assert isinstance(await publish, Delivery)
            assert publisher.health().ready

    await at_every_stage(check)


async def test_a_host_that_is_off_costs_the_budget() -> None:
    """TCP itself gets no answer; giving up leaves no socket behind."""
    with peers.unaccepting() as address:
        async with publishing(address, connect_timeout=0.15) as publisher:
            assert isinstance(await outcome(publisher), UnavailableError)
            assert "did not let us in within 0.15 s (connect_timeout)" in said(publisher.health())


@pytest.mark.parametrize(
    "settings", [TLS, SASL | {"security_protocol": "SASL_SSL"}, SASL], ids=["ssl", "sasl_ssl", "sasl"]
)
@pytest.mark.parametrize("connect_timeout", [0.15, 10.0], ids=["gives up", "waits on"])
async def test_a_peer_that_accepts_and_says_nothing_costs_the_budget(
    settings: dict[str, Any], connect_timeout: float
) -> None:
    """In the TLS handshake, too, where an unfinished one is aborted and not shut down politely."""
    async with peers.playing(peers.mute) as peer:
        async with publishing(peer.address, connect_timeout=connect_timeout, **settings) as publisher:
            assert isinstance(await outcome(publisher), UnavailableError)
            said(publisher.health())
        assert len(peer.times) <= 5


@pytest.mark.parametrize("stage", ["versions", "handshake", "authenticate", "metadata"])
async def test_an_eager_start_at_a_broker_that_hangs_ends_in_time(broker: FakeBroker, stage: str) -> None:
    """With the limit that it reached, and with what it was waiting for."""
    broker.silent.add(STAGES[stage])
    loop = asyncio.get_running_loop()
    config = KafkaConfig(broker.address, connect_timeout=0.2, metadata_timeout=0.2, **SASL)
    publisher = Publisher(config, connect="eager", start_timeout=0.5)
    began = loop.time()
    with pytest.raises(StartError, match=r"start_timeout \(0.5 s\): 127.0.0.1:\d+ did not .* within 0.2 s"):
        await publisher.open()
    assert loop.time() - began < 0.5 + LATE


# --- hanging up -------------------------------------------------------------------------


def at_once(broker: FakeBroker) -> Callable[[Received], bytes]:
    """Return an answer: none, and the end of every connection."""

    def answer(_: Received) -> bytes:
        asyncio.get_running_loop().call_soon(broker.drop)
        return b""

    return answer


async def test_a_broker_that_hangs_up_is_not_hammered() -> None:
    """However early or late it does: pauses grow and differ, and the event waits inside its budget."""

    async def check(broker: FakeBroker, stage: str) -> None:
        broker.raw[STAGES[stage]] = at_once(broker)
        async with publishing(broker.address, **SASL) as publisher:
            ended = await outcome(publisher, 1.5)
            assert isinstance(ended, PossiblyPersistedError if stage == "produce" else UnavailableError)
            # 0, 0.05, 0.15, 0.35, 0.75, 1.55 s, for questions and, where it comes to that, for batches.
            assert broker.count(STAGES[stage]) >= 3
            assert broker.accepted <= 18

    await at_every_stage(check)


async def test_a_port_that_hangs_up_on_everybody_is_not_hammered() -> None:
    """Ten publishes do not knock more often than one: pauses belong to the client and are never in step."""
    async with peers.playing(peers.hang_up) as peer, publishing(peer.address) as publisher:
        ended = await asyncio.gather(*(outcome(publisher, 1.8) for _ in range(10)))
        assert {type(error) for error in ended} == {UnavailableError}
        assert "ended the connection" in said(publisher.health())
        assert "security_protocol right?" in said(publisher.health())
        assert 4 <= len(peer.times) <= 8
        for gap, pause in zip(peer.gaps, (0.05, 0.1, 0.2, 0.4, 0.8), strict=False):
            assert 0.8 * pause <= gap <= 1.2 * pause + 0.1
        exact = [gap / pause for gap, pause in zip(peer.gaps, (0.05, 0.1, 0.2, 0.4, 0.8), strict=False)]
        assert len({round(ratio, 3) for ratio in exact}) > 1


async def test_a_broker_that_hangs_up_right_after_it_let_us_in_is_not_hammered(broker: FakeBroker) -> None:
    """Its last word in the handshake and its end of the connection arrive together."""

    def welcome(request: Received) -> bytes:
        asyncio.get_running_loop().call_soon(broker.drop)
        return broker._answer(request)

    broker.answers[SASL_AUTHENTICATE] = welcome
    async with publishing(broker.address, **SASL) as publisher:
        assert isinstance(await outcome(publisher, 1.0), UnavailableError)
        assert broker.address in said(publisher.health())
        assert 3 <= broker.accepted <= 7
        del broker.answers[SASL_AUTHENTICATE]
        assert isinstance(await outcome(publisher, 5.0), Delivery)


# --- nonsense ---------------------------------------------------------------------------

NONSENSE = {
    "http": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    "a TLS alert": bytes.fromhex("15030300020232"),
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
}


@pytest.mark.parametrize("name", NONSENSE)
async def test_a_peer_that_speaks_something_else_is_told_at_once(name: str) -> None:
    """Its first four bytes are no size of a frame; nobody waits for a gigabyte that will not come."""
    async with peers.playing(peers.saying(NONSENSE[name])) as peer, publishing(peer.address) as publisher:
        assert isinstance(await outcome(publisher), UnavailableError)
        assert "does not speak Kafka's protocol here: are port and security_protocol right?" in said(publisher.health())


@pytest.mark.parametrize(
    "behave", [peers.hang_up, peers.reset_on_hello, peers.saying(b"\0\0\0\x02no")], ids=["fin", "reset", "no TLS"]
)
async def test_a_peer_without_tls_is_told_from_one_that_is_away(behave: peers.Behaviour) -> None:
    """Whatever TLS makes of it, the reason names the setting."""
    async with peers.playing(behave) as peer, publishing(peer.address, **TLS) as publisher:
        assert isinstance(await outcome(publisher), UnavailableError)
        assert "TLS" in said(publisher.health())
        assert "security_protocol" in said(publisher.health())


@pytest.mark.parametrize("size", [2**31 - 1, 200_000_000])
async def test_a_frame_without_end_does_not_fill_the_memory(size: int) -> None:
    """A frame is refused by its size, before its bytes are taken in."""
    head = struct.pack(">i", size)
    tracemalloc.start()
    try:
        async with peers.playing(peers.endless(head)) as peer, publishing(peer.address) as publisher:
            assert isinstance(await outcome(publisher), UnavailableError)
            assert len(peer.times) <= 7
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
