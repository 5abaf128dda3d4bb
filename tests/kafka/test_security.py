"""Who is let in, who is not, and what an event comes to while that changes: on Apache Kafka, through the publisher."""

from __future__ import annotations

import asyncio
import logging
import pickle
import ssl
import time
import traceback
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import tenacity
from confluent_kafka.admin._acl import AclOperation

from eventpub import (
    CRITICAL,
    STANDARD,
    Delivery,
    PossiblyPersistedError,
    Publisher,
    PublishError,
    Record,
    RetryPolicy,
    StartError,
    TopicAuthorizationError,
    UnavailableError,
)
from eventpub.config import KafkaConfig
from eventpub.delivery import AttemptOutcome
from eventpub.transports.kafka.errors import AccessRefusedError, UnreachableError
from support import secure_node
from support.fault_proxy import FaultProxy
from support.kafka_node import free_ports
from support.readback import create_topic, read_topic
from support.secure_node import APP, APP_PASSWORD, OPEN_TOPICS, SESSION, STRANGER, STRANGER_PASSWORD, SecureKafka, token
from tests.fix_kafka import NOT_RUN, require_kafka

pytestmark = pytest.mark.kafka

LATE = 0.25
START_TIMEOUT = 1.0


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    """Run one node that lets nobody in without proof."""
    require_kafka()
    if reason := secure_node.missing():
        pytest.skip(NOT_RUN + reason)
    with SecureKafka(tmp_path_factory.mktemp("secure")) as node:
        yield node


@pytest.fixture
def topic(kafka: SecureKafka) -> str:
    """Make a topic that `APP` may write to."""
    return create_topic(kafka.bootstrap_servers, f"{OPEN_TOPICS}{uuid.uuid4()}")


@pytest.fixture
def closed_topic(kafka: SecureKafka) -> str:
    """Make a topic that nobody has a right on."""
    return create_topic(kafka.bootstrap_servers, f"closed-{uuid.uuid4()}")


class Attempts:
    """A hook that keeps every attempt that was not acknowledged."""

    def __init__(self) -> None:
        self.failed: list[Any] = []

    def on_attempt(self, details: Any) -> None:
        """Look at one attempt."""
        if details.attempt.outcome is not AttemptOutcome.ACKED:
            self.failed.append(details)


def values(kafka: SecureKafka, topic: str) -> list[bytes | None]:
    """Return what is in the log, as an independent reader finds it."""
    return [record.value for record in read_topic(kafka.bootstrap_servers, topic)]


async def outcome(publish: Awaitable[Delivery]) -> Delivery | PublishError:
    """Return what a publish comes to."""
    try:
        return await publish
    except PublishError as error:
        return error


def causes(error: BaseException | None) -> list[BaseException]:
    """Return an error and all that is chained behind it."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


# --- who is let in ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "listener, mechanism",
    [
        ("SASL", "PLAIN"),
        ("SASL", "SCRAM-SHA-256"),
        ("SASL", "SCRAM-SHA-512"),
        ("SASL", "OAUTHBEARER"),
        ("CLEAR", "SCRAM-SHA-512"),
        ("TLS", None),
    ],
)
async def test_every_way_in_delivers(kafka: SecureKafka, topic: str, listener: str, mechanism: str | None) -> None:
    """By password, by token, by certificate: what was acknowledged is in the log."""
    written = [b"%d" % n for n in range(100)]
    async with Publisher(kafka.config(listener, mechanism), connect="eager") as publisher:
        deliveries = await asyncio.gather(*(publisher.publish(Record(topic, value)) for value in written))
    assert [delivery.attempts for delivery in deliveries] == [1] * len(written)
    assert values(kafka, topic) == written


# --- who is not -------------------------------------------------------------------------


async def rubbish() -> str:
    """Return what is no token of Kafka's."""
    return "rubbish"


async def expired() -> str:
    """Return a token whose time is over."""
    return token(lifetime=-60)


Refused = tuple[KafkaConfig, type[Exception], str]


def refusals(kafka: SecureKafka) -> dict[str, Refused]:
    """Return for each thing that may be wrong: a config, the kind of fault, and words of the reason."""
    config, words = kafka.config, "refused the authentication: Authentication failed"
    oauth = {"mechanism": "OAUTHBEARER"}
    return {
        "wrong password (SCRAM)": (config(sasl_password="nope"), AccessRefusedError, words),
        "wrong password (PLAIN)": (config(mechanism="PLAIN", sasl_password="nope"), AccessRefusedError, words),
        "unknown user": (config(sasl_username="ghost"), AccessRefusedError, words),
        "no token at all": (config(**oauth, sasl_token_provider=rubbish), AccessRefusedError, "invalid_token"),
        "expired token": (config(**oauth, sasl_token_provider=expired), AccessRefusedError, "invalid_token"),
        "mechanism not offered": (
            kafka.config("BRIEF", "PLAIN"),
            AccessRefusedError,
            "does not offer sasl_mechanism PLAIN, only ",
        ),
        "expired certificate": (config("EXPIRED"), ssl.SSLCertVerificationError, "certificate has expired"),
        "wrong host": (config("ELSEWHERE"), ssl.SSLCertVerificationError, "not valid for '127.0.0.1'"),
        "unknown CA": (
            config(ssl_cafile=kafka.stranger_ca),
            ssl.SSLCertVerificationError,
            "self-signed certificate in certificate chain",
        ),
        "no client certificate": (
            KafkaConfig(kafka.address("TLS"), ssl_cafile=kafka.ca),
            ssl.SSLError,
            "TLS handshake failed: ",
        ),
        "plaintext at a TLS port": (
            KafkaConfig(kafka.address("EXPIRED")),
            UnreachableError,
            "security_protocol right?",
        ),
        "TLS at a plaintext port": (
            KafkaConfig(kafka.bootstrap_servers, ssl_cafile=kafka.ca),
            UnreachableError,
            "in the handshake (TCP or TLS): are port and security_protocol right?",
        ),
        "no SASL at a SASL port": (
            KafkaConfig(kafka.address("CLEAR")),
            UnreachableError,
            "is security_protocol right?",
        ),
        "SASL at a plaintext port": (
            config("CLEAR", bootstrap_servers=kafka.bootstrap_servers),
            AccessRefusedError,
            "takes no SASL here: are port and security_protocol right?",
        ),
    }


async def for_each_refusal(
    kafka: SecureKafka, check: Callable[[KafkaConfig, type[Exception], str], Awaitable[None]]
) -> None:
    """Run *check* for each of them, side by side."""

    async def run(name: str, refused: Refused) -> None:
        try:
            await check(*refused)
        except BaseException as error:
            error.add_note(f"with {name}")
            raise

    results = await asyncio.gather(*(run(*item) for item in refusals(kafka).items()), return_exceptions=True)
    if failures := [result for result in results if isinstance(result, Exception)]:
        raise ExceptionGroup("refusals that went otherwise", failures)


async def test_an_eager_start_says_why_it_was_not_let_in(kafka: SecureKafka) -> None:
    """Within start_timeout, in words, with the library's own error behind it."""

    async def check(config: KafkaConfig, kind: type[Exception], words: str) -> None:
        publisher = Publisher(config, connect="eager", start_timeout=START_TIMEOUT)
        began = time.monotonic()
        with pytest.raises(StartError) as caught:
            await publisher.open()
        assert time.monotonic() - began < START_TIMEOUT + LATE
        assert words in str(caught.value)
        assert any(isinstance(error, kind) for error in causes(caught.value))

    await for_each_refusal(kafka, check)


async def test_a_lazy_start_keeps_events_in_their_budgets_and_says_why(kafka: SecureKafka) -> None:
    """Events wait, end as not persisted, and nobody knocks again and again: counted where the broker listens."""
    budget = 2.2

    async def check(config: KafkaConfig, kind: type[Exception], words: str) -> None:
        with FaultProxy.before(str(config.bootstrap_servers), free_ports(1), opaque=True) as proxy:
            through = _through(config, proxy.bootstrap_servers)
            async with Publisher(through, profile=CRITICAL.replace(delivery_timeout=budget)) as publisher:
                began = time.monotonic()
                publishes = (outcome(publisher.publish(Record("open-waits", b"v"))) for _ in range(20))
                ended = await asyncio.gather(*publishes)
                assert time.monotonic() - began < budget + LATE
                assert {(type(error), getattr(error, "reason", "")) for error in ended} == {
                    (UnavailableError, "budget")
                }
                assert words in str(ended[0])
                health = publisher.health()
                assert not health.ready
                assert words in "; ".join(health.reasons)
            # Refusals: 0, 0.5, 1.5 s; what may pass soon: 0, 0.05, 0.15, 0.35, 0.75, 1.55 s. Each ± 20 %.
            refused = issubclass(kind, AccessRefusedError | ssl.SSLError)
            assert 2 <= proxy.connections[1] <= (4 if refused else 7)

    await for_each_refusal(kafka, check)


def _through(config: KafkaConfig, servers: str) -> KafkaConfig:
    names = (
        "security_protocol", "sasl_mechanism", "sasl_username", "sasl_password", "sasl_token_provider", "ssl_context",
        "ssl_cafile",
    )  # fmt: skip
    return KafkaConfig(servers, **{name: getattr(config, name) for name in names})


# --- sessions that end ------------------------------------------------------------------


async def test_sessions_end_and_no_event_notices(kafka: SecureKafka, topic: str) -> None:
    """Ten seconds over sessions of three: one attempt each, none failed, none late; busy, idle, by token."""
    calls: list[float] = []

    async def provide() -> str:
        calls.append(time.monotonic())
        return token(lifetime=SESSION - 0.5)  # the session ends with its token

    async def stream(publisher: Publisher, pause: float) -> list[Delivery]:
        until, deliveries = time.monotonic() + 10, []
        while time.monotonic() < until:
            deliveries.append(await publisher.publish(Record(topic, b"v")))
            await asyncio.sleep(pause)
        return deliveries

    attempts = Attempts()
    by_password = Publisher(kafka.config("BRIEF"), hooks=[attempts])
    by_token = Publisher(kafka.config("BRIEF", "OAUTHBEARER", sasl_token_provider=provide), hooks=[attempts])
    idle = Publisher(kafka.config("BRIEF"), hooks=[attempts], profile=STANDARD)
    async with by_password, by_token, idle:
        streams = await asyncio.gather(stream(by_password, 0.02), stream(by_token, 0.02), stream(idle, 4))
        assert all(publisher.health().ready for publisher in (by_password, by_token, idle))
    deliveries = [delivery for each in streams for delivery in each]
    assert attempts.failed == []
    assert {delivery.attempts for delivery in deliveries} == {1}
    assert max(delivery.elapsed for delivery in deliveries) < 1.0
    assert len(values(kafka, topic)) == len(deliveries) > 200
    # Two and a half seconds by token, renewed after 85 % of it: at least four times in ten.
    assert len(calls) >= 5


async def test_a_password_that_is_revoked_and_given_back(kafka: SecureKafka) -> None:
    """Connections live on; after them events are retried, end as not persisted, and come through when it is right."""
    with FaultProxy(kafka.routes) as proxy:
        through = {"bootstrap_servers": proxy.bootstrap_servers}
        await asyncio.gather(
            revoke_and_give_back(kafka, kafka.set_password, "another", listener="BRIEF"),
            revoke_and_give_back(kafka, kafka.remove_user, listener="BRIEF"),
            revoke_and_give_back(kafka, kafka.remove_user, listener="PROXIED", end=proxy.reset_connections, **through),
        )


async def revoke_and_give_back(
    kafka: SecureKafka, revoke: Callable[..., None], *args: str, end: Callable[[], object] | None = None, **way: str
) -> None:
    """Do it with a user and a topic of its own; the session ends by itself, or *end* ends the connections."""
    topic = create_topic(kafka.bootstrap_servers, f"{OPEN_TOPICS}{uuid.uuid4()}")
    user, password = topic, "password-canary"
    kafka.set_password(user, password)
    kafka.grant(user, topic)
    config = kafka.config(sasl_username=user, sasl_password=password, **way)
    sent: dict[bytes, Delivery | PublishError] = {}

    async def publish(publisher: Publisher, timeout: float) -> Delivery | PublishError:
        value = b"%d" % len(sent)
        sent[value] = await outcome(publisher.publish(Record(topic, value), timeout=timeout))
        return sent[value]

    async with Publisher(config, connect="eager") as publisher:
        assert isinstance(await publish(publisher, 5), Delivery)
        await asyncio.to_thread(revoke, user, *args)
        assert isinstance(await publish(publisher, 1), Delivery)
        if end is not None:
            await asyncio.to_thread(end)
        patience = time.monotonic() + 3 * SESSION
        while not isinstance(ended := await publish(publisher, 0.4), UnavailableError):
            assert time.monotonic() < patience, "the connections live on"
            await asyncio.sleep(0.1)
        assert "refused the authentication" in str(ended)
        waiting = asyncio.create_task(publish(publisher, 2))
        while not any("refused the authentication" in reason for reason in publisher.health().reasons):
            assert not waiting.done(), "an event waits, and health does not say why"
            await asyncio.sleep(0.02)
        assert isinstance(await waiting, UnavailableError)
        await asyncio.to_thread(kafka.set_password, user, password)
        assert isinstance(await publish(publisher, 20), Delivery)
        assert publisher.health().ready
    assert {type(ended) for ended in sent.values()} == {Delivery, UnavailableError}
    assert values(kafka, topic) == [value for value, ended in sent.items() if isinstance(ended, Delivery)]


# --- rights -----------------------------------------------------------------------------


async def test_a_right_that_is_revoked_and_given_back_wedges_nothing(
    kafka: SecureKafka, closed_topic: str, topic: str
) -> None:
    """Refused at once, without attempts to come; the next event after the grant is acked in its first."""
    kafka.grant(APP, closed_topic)
    async with Publisher(kafka.config()) as publisher:
        first = await publisher.publish(Record(closed_topic, b"before"))
        await asyncio.to_thread(kafka.revoke, APP, closed_topic)
        refused = await asyncio.gather(
            *(outcome(publisher.publish(Record(closed_topic, b"refused"))) for _ in range(10)),
            outcome(publisher.publish(Record(topic, b"elsewhere"))),
        )
        assert isinstance(refused.pop(), Delivery)
        assert {(type(error), getattr(error, "kafka_code", 0)) for error in refused} == {(TopicAuthorizationError, 29)}
        assert max(error.elapsed for error in refused) < 1.0
        await asyncio.to_thread(kafka.grant, APP, closed_topic)
        after = await publisher.publish(Record(closed_topic, b"after"))
    assert (first.offset, after.offset, after.attempts) == (0, 1, 1)
    assert after.elapsed < 1.0
    assert values(kafka, closed_topic) == [b"before", b"after"]


async def test_a_right_that_was_never_given_is_refused_until_it_is(kafka: SecureKafka, closed_topic: str) -> None:
    """Then the metadata refuses, before anything is sent; it is asked again for the next event."""
    async with Publisher(kafka.config()) as publisher:
        refused = await outcome(publisher.publish(Record(closed_topic, b"refused")))
        assert isinstance(refused, TopicAuthorizationError)
        assert (refused.attempts, refused.kafka_code) == (0, 29)
        assert refused.elapsed < 1.0
        await asyncio.to_thread(kafka.grant, APP, closed_topic)
        assert (await publisher.publish(Record(closed_topic, b"after"))).attempts == 1
    assert values(kafka, closed_topic) == [b"after"]


async def test_a_user_who_may_write_nowhere_gets_no_producer_id(kafka: SecureKafka, closed_topic: str) -> None:
    """CLUSTER_AUTHORIZATION_FAILED (31), told at once and not after the budget; acks=1 needs none and gets 29."""
    kafka.grant(STRANGER, closed_topic, AclOperation.DESCRIBE)
    config = kafka.config(sasl_username=STRANGER, sasl_password=STRANGER_PASSWORD)
    async with Publisher(config) as publisher:
        refused = await outcome(publisher.publish(Record(closed_topic, b"refused")))
        assert isinstance(refused, TopicAuthorizationError)
        assert (refused.kafka_code, refused.attempts) == (31, 0)
        assert refused.elapsed < 1.0
        assert "WRITE" in str(refused)
        without_id = await outcome(publisher.publish(Record(closed_topic, b"refused"), profile=STANDARD))
        assert isinstance(without_id, TopicAuthorizationError)
        assert (without_id.kafka_code, without_id.attempts) == (29, 1)
        await asyncio.to_thread(kafka.grant, STRANGER, closed_topic)
        assert (await publisher.publish(Record(closed_topic, b"after"))).offset == 0


async def test_a_right_revoked_after_an_attempt_in_doubt_is_no_proof(kafka: SecureKafka, closed_topic: str) -> None:
    """The first attempt is in the log, its answer was lost, and the second is refused: possibly persisted."""
    kafka.grant(APP, closed_topic)
    patient = CRITICAL.replace(retry=RetryPolicy(wait=tenacity.wait_fixed(1.0)))
    with FaultProxy(kafka.routes) as proxy:
        async with Publisher(kafka.config("PROXIED", bootstrap_servers=proxy.bootstrap_servers)) as publisher:
            await publisher.publish(Record(closed_topic, b"before"))
            lost = proxy.lose_next_ack()
            publish = asyncio.create_task(
                outcome(publisher.publish(Record(closed_topic, b"doubtful"), profile=patient))
            )
            while not lost.effects:  # noqa: ASYNC110 - it happens in another thread
                await asyncio.sleep(0.01)
            await asyncio.to_thread(kafka.revoke, APP, closed_topic)
            doubtful = await publish
            assert isinstance(doubtful, PossiblyPersistedError)
            assert doubtful.reason == "rejected"
            assert [attempt.outcome for attempt in doubtful.history] == [
                AttemptOutcome.IN_DOUBT,
                AttemptOutcome.NOT_APPENDED,
            ]
            await asyncio.to_thread(kafka.grant, APP, closed_topic)
            assert (await publisher.publish(Record(closed_topic, b"after"))).attempts == 1
    assert values(kafka, closed_topic) == [b"before", b"doubtful", b"after"]


# --- secrets ----------------------------------------------------------------------------

PAYLOAD, KEY, WRONG_PASSWORD = b"payload-canary", b"key-canary", "wrong-canary"


async def test_no_secret_is_told(
    kafka: SecureKafka, topic: str, closed_topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Passwords, tokens, keys and payloads: not in logs (aiokafka's too), reprs, errors, tracebacks, pickles."""
    caplog.set_level(logging.DEBUG)
    texts: list[str] = []
    for mechanism in ("PLAIN", "SCRAM-SHA-512", "OAUTHBEARER"):
        config = kafka.config(mechanism=mechanism)
        async with Publisher(config) as publisher:
            texts.append(str(await publisher.publish(Record(topic, PAYLOAD, KEY))))
            refused = await outcome(publisher.publish(Record(closed_topic, PAYLOAD, KEY)))
            assert isinstance(refused, TopicAuthorizationError)
            texts += [*told(refused), repr(publisher), str(publisher.health()), str(publisher.statistics())]
        texts += [repr(config), str(config), repr(pickle.dumps(config))]
        wrong = {"sasl_token_provider": expired} if mechanism == "OAUTHBEARER" else {"sasl_password": WRONG_PASSWORD}
        publisher = Publisher(kafka.config(mechanism=mechanism, **wrong), connect="eager", start_timeout=2)
        with pytest.raises(StartError) as caught:
            await publisher.open()
        texts += told(caught.value)
    texts.append(caplog.text)
    assert len(caplog.records) > 100
    header, claims, _ = token().split(".")
    secrets = (APP_PASSWORD, WRONG_PASSWORD, PAYLOAD.decode(), KEY.decode(), header, claims[:20])
    assert [(secret, text) for secret in secrets for text in texts if secret in text] == []


def told(error: BaseException) -> list[str]:
    """Return all that an error tells to whoever logs it, with the local variables that crash reports show."""
    crash_report = traceback.TracebackException.from_exception(error, capture_locals=True).format()
    not_ours = [text for text in crash_report if f'"{__file__}"' not in text]
    return [*map(str, causes(error)), *map(repr, causes(error)), repr(pickle.dumps(error)), *not_ours]
