"""Authentication against a broker that cheats, refuses in roundabout ways, or is not needed; and what it tells."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiokafka.protocol.admin import SaslAuthenticateRequest_v1, SaslAuthenticateResponse_v1

from eventpub import CRITICAL, Delivery, Publisher, Record, StartError, UnavailableError
from eventpub.config import KafkaConfig
from tests.wire.fake_broker import (
    AUTHENTICATION_FAILED,
    METADATA,
    SASL_AUTHENTICATE,
    FakeBroker,
    Received,
    running,
)

pytestmark = pytest.mark.wire

EVENT = Record("t", b"v", key=b"k")
TOKEN = "token-canary"
PASSWORD = "password-canary"
NO_ERROR = 0


@pytest.fixture
async def broker() -> AsyncIterator[FakeBroker]:
    """Run one broker that takes tokens."""
    broker = FakeBroker(sasl="OAUTHBEARER", password=TOKEN)
    async with running(broker):
        yield broker


def config(broker: FakeBroker, **settings: Any) -> KafkaConfig:
    """Return how to get in; the loopback interface is safe enough for a test."""
    usual = {"sasl_mechanism": broker.sasl, "security_protocol": "SASL_PLAINTEXT", "insecure": True}
    return KafkaConfig(broker.address, **(usual | settings))


def by_token(broker: FakeBroker, provide: Callable[[], Awaitable[str]], **settings: Any) -> Publisher:
    """Return a publisher that gets in by what *provide* says."""
    return Publisher(config(broker, sasl_token_provider=provide, **settings))


def by_scram(broker: FakeBroker, password: str = PASSWORD) -> Publisher:
    """Return a publisher that gets in by SCRAM, now or not at all."""
    who = {"sasl_mechanism": "SCRAM-SHA-256", "sasl_username": "app", "sasl_password": password}
    return Publisher(config(broker, **who), connect="eager", start_timeout=1)


def answered(code: int = NO_ERROR, data: bytes = b"", text: str | None = None) -> bytes:
    """Return the body of an answer to SaslAuthenticate."""
    return bytes(SaslAuthenticateResponse_v1(code, text, data, 0).encode())


def asked(request: Received) -> bytes:
    """Return what the client sent to authenticate."""
    data: bytes = SaslAuthenticateRequest_v1.decode(request.body).sasl_auth_bytes
    return data


# --- tokens -----------------------------------------------------------------------------


class KafkasTokenCheck:
    """Refuses a token as Kafka does: first the reason, without an error code, and the code when that was heard."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def __call__(self, request: Received) -> bytes:
        """Answer one message of the client."""
        self.heard.append(asked(request))
        if self.heard[-1] == b"\x01":
            return answered(AUTHENTICATION_FAILED, text='{"status":"invalid_token"}')
        return answered(data=b'{"status":"invalid_token"}')


async def provide() -> str:
    """Return the right token."""
    return TOKEN


async def test_a_refused_token_is_not_taken_for_a_welcome(broker: FakeBroker) -> None:
    """A broker says so in two steps, the first of which carries no error code (RFC 7628)."""
    check = broker.answers[SASL_AUTHENTICATE] = KafkasTokenCheck()
    publisher = Publisher(config(broker, sasl_token_provider=provide), connect="eager", start_timeout=1)
    with pytest.raises(StartError, match=r"refused the authentication: .*invalid_token"):
        await publisher.open()
    assert check.heard[-1] == b"\x01"
    assert broker.count(METADATA) == 0


async def test_a_broker_that_knows_no_brokers_is_not_ready(broker: FakeBroker) -> None:
    """An answer without any broker in it does not say that events can be written."""
    empty = b"\0\0\0\0" + b"\0\0\0\0" + b"\xff\xff" + b"\xff\xff\xff\xff" + b"\0\0\0\0"
    broker.answers[METADATA] = lambda _: empty
    async with by_token(broker, provide) as publisher:
        with pytest.raises(UnavailableError):
            await publisher.publish(EVENT, timeout=0.4)
        assert not publisher.health().ready
        del broker.answers[METADATA]
        assert isinstance(await publisher.publish(EVENT, timeout=5), Delivery)


class Flaky:
    """A token provider that fails in its own way for the first calls."""

    def __init__(self, fail: Callable[[], Awaitable[Any]], failures: int) -> None:
        self.calls: list[float] = []
        self._fail = fail
        self._failures = failures

    async def __call__(self) -> str:
        """Return the token, or fail."""
        self.calls.append(asyncio.get_running_loop().time())
        if len(self.calls) <= self._failures:
            failed: str = await self._fail()
            return failed
        return TOKEN


async def raises() -> str:
    """Fail with a secret in the message."""
    raise RuntimeError(f"the identity provider did not like {TOKEN}")


async def is_cancelled() -> str:
    """Fail as a provider does whose own request was cancelled inside it."""
    raise asyncio.CancelledError


async def hangs() -> str:
    """Never return."""
    await asyncio.Event().wait()
    return TOKEN


async def returns_nothing() -> Any:
    """Return no token."""
    return None


async def returns_two() -> str:
    """Return something that would smuggle a second field into the message."""
    return f"{TOKEN}\x01auth=Bearer other"


async def returns_half_a_character() -> str:
    """Return text that UTF-8 cannot express."""
    return f"{TOKEN}\udc80"


# How often each fails here. What it raises may pass soon; what it returns is refused, and asked for less often.
WAYS: dict[Callable[[], Awaitable[Any]], int] = {
    raises: 4,
    is_cancelled: 4,
    hangs: 2,
    returns_nothing: 1,
    returns_two: 1,
    returns_half_a_character: 1,
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_token_provider_that_fails_costs_time_and_nothing_else(
    broker: FakeBroker, way: Callable[[], Awaitable[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """The budget holds, health says why, and when the provider is well again the event is delivered."""
    caplog.set_level(logging.DEBUG)
    loop = asyncio.get_running_loop()
    flaky = Flaky(way, WAYS[way])
    async with by_token(broker, flaky, connect_timeout=0.3) as publisher:
        began = loop.time()
        with pytest.raises(UnavailableError) as caught:
            await publisher.publish(EVENT, timeout=0.25)
        assert loop.time() - began < 0.5
        said = "; ".join(publisher.health().reasons)
        if way is not hangs:  # which takes longer than the budget, and has not failed yet
            assert "sasl_token_provider" in said
        assert isinstance(await publisher.publish(EVENT, timeout=5), Delivery)
        assert publisher.health().ready
        assert len(flaky.calls) <= 7
    assert TOKEN not in caplog.text + said + str(caught.value) + repr(caught.value)


async def test_a_token_provider_that_keeps_failing_is_not_hammered(broker: FakeBroker) -> None:
    """An identity provider in trouble gets fewer questions, not more, however many events wait."""
    flaky = Flaky(raises, failures=100)
    async with by_token(broker, flaky) as publisher:
        publishes = (publisher.publish(EVENT, timeout=1.6) for _ in range(20))
        ended = await asyncio.gather(*publishes, return_exceptions=True)
    assert {type(error) for error in ended} == {UnavailableError}
    assert 3 <= len(flaky.calls) <= 8


async def test_an_eager_start_tells_that_the_token_provider_failed(broker: FakeBroker) -> None:
    """It may be well again in a moment, so the start waits for that; then its error is behind the start's."""
    publisher = Publisher(
        config(broker, sasl_token_provider=Flaky(raises, failures=100)), connect="eager", start_timeout=0.5
    )
    with pytest.raises(StartError, match="sasl_token_provider raised RuntimeError") as caught:
        await publisher.open()
    assert RuntimeError in [type(error) for error in causes(caught.value)]


def causes(error: BaseException | None) -> list[BaseException]:
    """Return an error and all that is chained behind it."""
    found: list[BaseException] = []
    while error is not None:
        assert error not in found, "a cause that goes round in circles"
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


# --- SCRAM ------------------------------------------------------------------------------


class ScramServer:
    """The broker's side of SCRAM-SHA-256 (RFC 7677), honest unless told otherwise."""

    def __init__(self, *, iterations: int = 4096, nonce: str | None = None, signs: bool = True) -> None:
        self._iterations = iterations
        self._nonce = nonce
        self._signs = signs
        self._said = ""

    def __call__(self, request: Received) -> bytes:
        """Answer one message of the client."""
        text = asked(request).decode()
        return self._first(text) if text.startswith("n,,") else self._final(text)

    def _first(self, text: str) -> bytes:
        bare = text.removeprefix("n,,")
        nonce = self._nonce or bare.partition(",r=")[2] + "server"
        first = f"r={nonce},s={base64.b64encode(b'salt').decode()},i={self._iterations}"
        self._said = f"{bare},{first}"
        return answered(data=first.encode())

    def _final(self, text: str) -> bytes:
        message = f"{self._said},{text.rpartition(',p=')[0]}".encode()
        salted = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), b"salt", self._iterations)
        key = _hmac(salted, b"Server Key") if self._signs else b"does not know it"
        return answered(data=b"v=" + base64.b64encode(_hmac(key, message)))


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()


@pytest.fixture
async def scram() -> AsyncIterator[FakeBroker]:
    """Run one broker that speaks SCRAM."""
    broker = FakeBroker(sasl="SCRAM-SHA-256")
    broker.answers[SASL_AUTHENTICATE] = ScramServer()
    async with running(broker):
        yield broker


async def test_scram_lets_in(scram: FakeBroker) -> None:
    """The honest server of this file is one to eventpub."""
    async with by_scram(scram) as publisher:
        assert isinstance(await publisher.publish(EVENT), Delivery)


@pytest.mark.parametrize(
    "server",
    [
        ScramServer(signs=False),
        ScramServer(nonce="of another exchange"),
        ScramServer(iterations=1),
        ScramServer(iterations=2_000_000_000),
    ],
    ids=[
        "does not know the password",
        "replays",
        "asks for a hash that is easily guessed",
        "asks for hours of hashing",
    ],
)
async def test_a_broker_that_cheats_at_scram_is_refused(scram: FakeBroker, server: ScramServer) -> None:
    """Whoever does not know the password is no broker of ours; and nobody keeps a thread busy."""
    scram.answers[SASL_AUTHENTICATE] = server
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(StartError, match=r"refused the authentication|SCRAM iterations") as caught:
        await by_scram(scram).open()
    assert loop.time() - began < 0.5
    assert scram.count(METADATA) == 0
    assert PASSWORD not in "".join(map(repr, causes(caught.value)))


# --- what is wrong is told in words -------------------------------------------------------


async def test_a_mechanism_that_is_not_offered_is_named(scram: FakeBroker) -> None:
    """And so are those that are."""
    publisher = Publisher(
        config(scram, sasl_mechanism="PLAIN", sasl_username="app", sasl_password=PASSWORD),
        connect="eager",
        start_timeout=1,
    )
    with pytest.raises(StartError, match=r"does not offer .*PLAIN.*SCRAM-SHA-256"):
        await publisher.open()


async def test_a_password_that_no_message_can_carry_is_refused_before_it_is_sent(scram: FakeBroker) -> None:
    """Neither half a character nor what PLAIN separates its fields with; and the refusal does not show it."""
    for secret in (f"{PASSWORD}\udc80", f"{PASSWORD}\0admin"):
        with pytest.raises(ValueError, match="sasl_password: ") as caught:
            by_scram(scram, secret)
        assert PASSWORD not in "".join(map(repr, causes(caught.value)))


async def test_a_password_that_is_refused_is_not_tried_again_at_once(scram: FakeBroker) -> None:
    """Each refusal may count towards a lockout: half a second, one, two."""
    scram.answers[SASL_AUTHENTICATE] = lambda _: answered(AUTHENTICATION_FAILED, text="no")
    who = {"sasl_username": "app", "sasl_password": PASSWORD}
    profile = CRITICAL.replace(delivery_timeout=2.2)
    async with Publisher(config(scram, **who), profile=profile) as publisher:
        ended = await asyncio.gather(*(publisher.publish(EVENT) for _ in range(20)), return_exceptions=True)
        assert {type(error) for error in ended} == {UnavailableError}
        assert f"{scram.address} refused the authentication: no" in publisher.health().reasons
    assert 2 <= scram.accepted <= 3
