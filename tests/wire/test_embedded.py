"""The embedded broker, by a client that shares no code with it or with eventpub."""

from __future__ import annotations

import io
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from aiokafka.protocol.produce import ProduceRequest_v7, ProduceResponse_v7
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from eventpub.exceptions import UsageError
from eventpub.testing import EmbeddedKafka, _librdkafka
from support import readback

pytestmark = pytest.mark.wire

INVALID_RECORD = 87
NOT_LEADER = 6


@pytest.fixture
def kafka() -> Iterator[EmbeddedKafka]:
    """Run one broker with the topic ``t`` of two partitions."""
    with EmbeddedKafka() as embedded:
        embedded.create_topic("t", 2)
        yield embedded


def produce(kafka: EmbeddedKafka, value: bytes = b"v", **settings: int) -> str:
    """Write one record to partition 0 of ``t``; return ``"ok"`` or the name of the error."""
    outcomes: list[str] = []

    def note(error: KafkaError | None, _: object) -> None:
        outcomes.append("ok" if error is None else error.name())

    servers = {"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0, "retries": 0}
    producer = Producer(servers | settings)
    producer.produce("t", value, partition=0, on_delivery=note)
    assert producer.flush(10) == 0
    return outcomes[0]


def values(kafka: EmbeddedKafka) -> list[bytes | None]:
    """Read all of ``t`` back."""
    return [record.value for record in readback.read_topic(kafka.bootstrap_servers, "t")]


def connects(address: str) -> bool:
    """Whether a TCP connection to *address* is accepted."""
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def batch(producer_id: int = -1, sequence: int = -1) -> bytes:
    """Encode one record as a batch of magic 2."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1000)
    assert builder.append(0, 0, None, b"v", [])
    builder.set_producer_state(producer_id, 0 if producer_id >= 0 else -1, sequence)
    return bytes(builder.build())


def send(kafka: EmbeddedKafka, data: bytes, acks: int) -> bytes:
    """Send a Produce request (version 7, correlation id 7) by hand; return the answer."""
    request = ProduceRequest_v7(None, acks, 1000, [("t", [(0, data)])])
    message = request.build_request_header(7, "test").encode() + request.encode()
    host, port = kafka.bootstrap_servers.split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(struct.pack(">i", len(message)) + message)
        with connection.makefile("rb") as answers:
            (size,) = struct.unpack(">i", answers.read(4))
            return answers.read(size)


def test_what_is_written_is_read_back(kafka: EmbeddedKafka) -> None:
    """A record goes over TCP into the log and comes back by an independent consumer."""
    assert produce(kafka, b"hello") == "ok"
    assert values(kafka) == [b"hello"]


def test_a_topic_has_the_partitions_asked_for(kafka: EmbeddedKafka) -> None:
    """Partitions are as many as were asked for, and all have a leader."""
    assert readback.partition_count(kafka.bootstrap_servers, "t") == 2
    assert readback.leader(kafka.bootstrap_servers, "t", 1) == 1


def test_the_url_is_a_target_for_a_publisher(kafka: EmbeddedKafka) -> None:
    """The URL names the one server, and the representation shows where it runs."""
    assert kafka.url == f"kafka://{kafka.bootstrap_servers}"
    assert repr(kafka) == f"<EmbeddedKafka {kafka.bootstrap_servers}>"


def test_several_brokers_share_the_partitions() -> None:
    """A cluster of three has three addresses, and leaders can be moved among them."""
    with EmbeddedKafka(brokers=3) as kafka:
        kafka.create_topic("t")
        assert len(set(kafka.bootstrap_servers.split(","))) == 3
        assert readback.brokers_in_metadata(kafka.bootstrap_servers) == {1, 2, 3}
        for broker in (3, 1):
            kafka.move_leader("t", 0, broker)
            assert readback.leader(kafka.bootstrap_servers, "t") == broker
        assert produce(kafka) == "ok"


@pytest.mark.parametrize("times", [1, 3])
def test_rejected_requests_write_nothing(kafka: EmbeddedKafka, times: int) -> None:
    """As many produce requests as asked for get the code; the next one is written."""
    kafka.reject_next(INVALID_RECORD, times)
    assert [produce(kafka) for _ in range(times)] == ["INVALID_RECORD"] * times
    assert produce(kafka, b"next") == "ok"
    assert values(kafka) == [b"next"]


def test_a_retriable_rejection_is_survived_by_a_client_that_retries(kafka: EmbeddedKafka) -> None:
    """The code reaches the client as Kafka's: librdkafka sends again after NOT_LEADER."""
    kafka.reject_next(NOT_LEADER)
    assert produce(kafka, retries=5) == "ok"
    assert values(kafka) == [b"v"]


def test_a_dropped_request_writes_nothing(kafka: EmbeddedKafka) -> None:
    """The connection ends instead of an answer, and the log stays empty."""
    kafka.drop_next()
    assert produce(kafka) == "_TRANSPORT"
    assert values(kafka) == []


def test_a_script_can_be_taken_back(kafka: EmbeddedKafka) -> None:
    """After forget_script() the next request is written."""
    kafka.reject_next(INVALID_RECORD, 5)
    kafka.forget_script()
    assert produce(kafka) == "ok"


def test_a_broker_that_is_down_refuses_connections_and_keeps_its_log(kafka: EmbeddedKafka) -> None:
    """down() breaks what is there and refuses what comes; up() gives all back, on the same port."""
    assert produce(kafka) == "ok"
    address = kafka.bootstrap_servers
    kafka.down()
    assert not connects(address)
    kafka.up()
    assert connects(address)
    assert values(kafka) == [b"v"]


def test_one_broker_of_several_can_be_down() -> None:
    """The others go on answering, and no longer name it."""
    with EmbeddedKafka(brokers=2) as kafka:
        kafka.down(2)
        first, second = kafka.bootstrap_servers.split(",")
        assert (connects(first), connects(second)) == (True, False)
        assert readback.brokers_in_metadata(first) == {1}


def test_latency_holds_every_answer_back(kafka: EmbeddedKafka) -> None:
    """Connecting and producing take several round trips of at least the latency each."""
    kafka.latency(0.1)
    began = time.monotonic()
    assert produce(kafka) == "ok"
    assert time.monotonic() - began >= 0.3
    kafka.latency(0)


def test_a_paused_broker_writes_and_does_not_answer(kafka: EmbeddedKafka) -> None:
    """The client gives up, the record is in the log: what "possibly persisted" is about."""
    outcomes: list[str] = []
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0})
    producer.produce("t", b"first", partition=0)
    assert producer.flush(10) == 0
    kafka.pause()
    producer.produce("t", b"second", partition=0, on_delivery=lambda error, _: outcomes.append(str(error)))
    assert producer.flush(0.3) == 1
    assert outcomes == []
    kafka.resume()
    assert producer.flush(10) == 0
    assert outcomes == ["None"]
    assert values(kafka) == [b"first", b"second"]


@pytest.mark.parametrize("waited", [0.0, 0.005, 0.05])
def test_a_slow_broker_that_was_paused_answers_what_came_just_before(kafka: EmbeddedKafka, waited: float) -> None:
    """An answer younger than the latency when the pause ended was sent a day later."""
    host, port = kafka.bootstrap_servers.split(":")
    kafka.latency(0.02)
    kafka.pause()
    with socket.create_connection((host, int(port)), timeout=2) as client:
        client.sendall(struct.pack(">ihhih", 10, 18, 0, 1, -1))  # ApiVersions
        time.sleep(waited)
        kafka.resume()
        assert client.recv(4)


def test_a_leaderless_partition_is_shown_as_such(kafka: EmbeddedKafka) -> None:
    """Metadata names no leader until one is given again; the neighbour is unharmed."""
    kafka.leaderless("t", 0)
    assert readback.leader(kafka.bootstrap_servers, "t", 0) == -1
    assert readback.leader(kafka.bootstrap_servers, "t", 1) == 1
    kafka.leader_back("t", 0)
    assert produce(kafka) == "ok"


def test_a_client_that_still_sends_to_a_leaderless_partition_ends_nobodys_process(
    kafka: EmbeddedKafka,
) -> None:
    """Producing and fetching with a stale leader are answered; newer protocol versions crashed."""
    servers = {"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0}
    producer = Producer(servers | {"message.timeout.ms": 500})
    producer.produce("t", b"before", partition=0)
    assert producer.flush(10) == 0
    consumer = Consumer(servers | {"group.id": "g"})
    try:
        consumer.assign([TopicPartition("t", 0, 0)])
        assert consumer.poll(10) is not None
        kafka.leaderless("t", 0)
        producer.produce("t", b"after", partition=0)
        producer.flush(10)
        consumer.poll(0.5)
    finally:
        consumer.close()
    kafka.leader_back("t", 0)
    assert values(kafka) == [b"before"]


def test_a_topic_is_made_only_by_a_client_that_asks_for_it(kafka: EmbeddedKafka) -> None:
    """Without allowing it in the request a topic stays unknown; librdkafka's producers allow it."""
    servers = kafka.bootstrap_servers
    for _ in range(2):
        with pytest.raises(KafkaException, match="UNKNOWN_TOPIC_OR_PART"):
            readback.partition_count(servers, "unheard-of")
    producer = Producer({"bootstrap.servers": servers, "log_level": 0})
    producer.produce("unheard-of", b"v")
    assert producer.flush(10) == 0
    assert readback.partition_count(servers, "unheard-of") == 4


def test_a_request_with_acks_0_is_answered(kafka: EmbeddedKafka) -> None:
    """Kafka never does that; clients have to drop the answer, so it should be known."""
    answer = send(kafka, batch(), acks=0)
    assert struct.unpack_from(">i", answer) == (7,)
    assert values(kafka) == [b"v"]


def test_answers_claim_one_append_time_and_the_log_keeps_the_timestamps(kafka: EmbeddedKafka) -> None:
    """What a delivery says of its time is made up here; a consumer reads what was written."""
    answer = io.BytesIO(send(kafka, batch(), acks=-1)[4:])
    ((_, ((_, _, _, append_time, _),)),) = ProduceResponse_v7.decode(answer).topics
    assert append_time == 1234
    (record,) = readback.read_topic(kafka.bootstrap_servers, "t")
    assert record.timestamp == 0


def test_a_resent_batch_is_written_again(kafka: EmbeddedKafka) -> None:
    """The same bytes, producer id, epoch and sequence twice are two records: no deduplication."""
    stamped = batch(producer_id=1000, sequence=0)
    send(kafka, stamped, acks=-1)
    send(kafka, stamped, acks=-1)
    assert values(kafka) == [b"v", b"v"]


def test_it_does_not_deduplicate_and_says_so(kafka: EmbeddedKafka) -> None:
    """Faults that only mean something with deduplication are refused, with what to use."""
    with pytest.raises(UsageError, match="use MemoryBroker, or Apache Kafka"):
        kafka.lose_next_ack()


@pytest.mark.parametrize(
    "misuse, said",
    [
        (lambda k: k.create_topic("t"), "already exists"),
        (lambda k: k.create_topic("u", 0), "at least one partition"),
        (lambda k: k.reject_next(0), "none of Kafka's error codes"),
        (lambda k: k.reject_next(87, times=0), "at least once"),
        (lambda k: k.latency(-1), "cannot be negative"),
        (lambda k: k.down(2), "their ids are 1 to 1"),
        (lambda k: k.leaderless("t", 7), "Unknown topic or partition"),
        (lambda k: k.start(), "runs already"),
        (lambda _: EmbeddedKafka(brokers=0), "at least one broker"),
    ],
)
def test_misuse_is_refused_with_the_reason(
    kafka: EmbeddedKafka, misuse: Callable[[EmbeddedKafka], object], said: str
) -> None:
    """What makes no sense raises a UsageError that says why."""
    with pytest.raises(UsageError, match=said):
        misuse(kafka)


def test_nothing_works_before_the_start_and_after_the_end() -> None:
    """A broker that does not run says so; closing twice is harmless; it can run again."""
    kafka = EmbeddedKafka()
    for _ in range(2):
        with pytest.raises(UsageError, match="is not running"):
            kafka.create_topic("t")
        with kafka:
            kafka.create_topic("t")
        kafka.close()
    assert repr(kafka) == "<EmbeddedKafka not running>"


def test_a_broker_that_was_forgotten_is_closed_with_a_warning() -> None:
    """Losing the last reference to a running broker warns, and ends it."""
    forgotten = [EmbeddedKafka()]
    forgotten[0].start()
    address = forgotten[0].bootstrap_servers
    with pytest.warns(ResourceWarning, match="was never closed"):
        forgotten.clear()
    assert not connects(address)


def test_without_confluent_kafka_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing confluent-kafka is one line that says what to install."""
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    _librdkafka.load.cache_clear()
    with pytest.raises(UsageError, match=r"pip install 'eventpub\[broker\]'"):
        EmbeddedKafka().start()


def test_a_librdkafka_without_a_function_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mock cluster's functions may change: one that is gone is named before anything runs."""
    monkeypatch.setitem(_librdkafka._SIGNATURES, "rd_kafka_mock_gone", (None, []))
    _librdkafka.load.cache_clear()
    with pytest.raises(UsageError, match="has no rd_kafka_mock_gone: install a confluent-kafka"):
        EmbeddedKafka().start()


async def test_its_verbs_may_be_used_on_an_event_loop(kafka: EmbeddedKafka) -> None:
    """No verb counts as a blocking call, and twenty of them in a row stall the loop for no second."""
    began = time.monotonic()
    for _ in range(10):
        kafka.down()
        kafka.up()
    assert time.monotonic() - began < 0.9
