"""The fault proxy does what each verb says, counts it, and does nothing when it was not asked."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Self, cast

import pytest

from eventpub.testing import EmbeddedKafka
from support import kafka_frames
from support.fault_proxy import FaultProxy
from support.kafka_frames import Api, NotAFrameError
from support.kafka_node import free_ports

MOMENT = 0.1  # long enough for what passes at once; what does not pass is waited for as long in vain


class Echo(socketserver.ThreadingTCPServer):
    """A framed server: it answers each request with its own body, and keeps what reached it."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), EchoHandler)
        self.got: list[bytes] = []
        self.ended = 0

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.server_address[1]}"


class EchoHandler(socketserver.StreamRequestHandler):
    """One connection to the echo server."""

    def handle(self) -> None:
        """Answer until the other side ends, or says goodbye."""
        server = cast("Echo", self.server)
        with contextlib.suppress(OSError):
            while len(size := self.rfile.read(4)) == 4:
                data = self.rfile.read(*struct.unpack(">i", size))
                server.got.append(data)
                _, _, correlation = struct.unpack_from(">hhi", data)
                answer = struct.pack(">i", correlation) + data[8:]
                self.wfile.write(struct.pack(">i", len(answer)) + answer)
                if answer[4:] == b"bye":
                    break
        server.ended += 1


class Client:
    """A connection of raw frames."""

    def __init__(self, address: str) -> None:
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.socket.close()

    def send(self, body: bytes = b"hello", api: int = Api.PRODUCE, correlation: int = 1) -> None:
        """Send one request."""
        self.socket.sendall(request(body, api, correlation))

    def receive(self, count: int = 1 << 16) -> bytes:
        """Return the next bytes; empty at the end."""
        return self.socket.recv(count)

    def ask(self, body: bytes = b"hello", api: int = Api.PRODUCE, correlation: int = 1) -> bytes:
        """Send one request and return what comes first."""
        self.send(body, api, correlation)
        return self.receive()

    def hears_nothing(self, seconds: float = MOMENT) -> bool:
        """Whether the connection stays open and silent."""
        self.socket.settimeout(seconds)
        try:
            self.receive(1)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(5)
        return False


def request(body: bytes = b"hello", api: int = Api.PRODUCE, correlation: int = 1) -> bytes:
    """Return a request's frame."""
    data = struct.pack(">hhi", api, 0, correlation) + body
    return struct.pack(">i", len(data)) + data


def reply(body: bytes = b"hello", correlation: int = 1) -> bytes:
    """Return the frame that the echo server answers with."""
    return struct.pack(">ii", 4 + len(body), correlation) + body


@pytest.fixture
def echo() -> Iterator[Echo]:
    """Run an echo server."""
    with Echo() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[FaultProxy]:
    """Run a proxy before the echo server."""
    with FaultProxy.before(echo.address, free_ports(1)) as running:
        yield running


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[Client]:
    """Open a connection through the proxy."""
    with Client(proxy.bootstrap_servers) as connected:
        yield connected


def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until a condition holds."""
    patience = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < patience
        time.sleep(0.002)


# --- nothing asked --------------------------------------------------------------------------


def test_without_a_fault_every_byte_passes_both_ways(proxy: FaultProxy, client: Client, echo: Echo) -> None:
    """Small, empty and large frames, many at once, in order; nothing is counted as a fault."""
    for number, body in enumerate([b"", b"x", b"y" * 3_000_000]):
        client.send(body, correlation=number)
        answer = b""
        while len(answer) < 8 + len(body):
            answer += client.receive()
        assert answer == reply(body, number)
    client.socket.sendall(b"".join(request(str(n).encode(), Api.METADATA, n) for n in range(500)))
    expected = b"".join(reply(str(n).encode(), n) for n in range(500))
    answer = b""
    while len(answer) < len(expected):
        answer += client.receive()
    assert answer == expected
    assert not proxy.effects
    assert proxy.requests == {(1, Api.PRODUCE): 3, (1, Api.METADATA): 500}
    assert proxy.connections == {1: 1}


def test_an_end_of_either_side_reaches_the_other(proxy: FaultProxy, echo: Echo) -> None:
    """A client that goes ends the broker's side; a broker that goes ends the client's."""
    with Client(proxy.bootstrap_servers) as client:
        client.ask()
    until(lambda: echo.ended == 1)
    with Client(proxy.bootstrap_servers) as client:
        assert client.ask(b"bye") == reply(b"bye")
        assert client.receive() == b""


def test_a_broker_that_is_not_there_resets_the_client(echo: Echo) -> None:
    """No upstream: the connection ends at its first request."""
    nobody, port = free_ports(2)
    with FaultProxy.before(f"127.0.0.1:{nobody}", [port]) as proxy, Client(proxy.bootstrap_servers) as client:
        client.send()
        with pytest.raises(ConnectionResetError):
            client.receive()


def test_a_fault_of_another_broker_or_api_does_not_strike(echo: Echo) -> None:
    """Filters hold; what did not strike says so."""
    with FaultProxy.before(f"{echo.address},{echo.address}", free_ports(2)) as proxy:
        first, second = proxy.bootstrap_servers.split(",")
        proxy.lose_next_ack(broker=2)
        proxy.garble_next_reply(api=Api.METADATA)
        proxy.cut_next_request(3, api=Api.INIT_PRODUCER_ID)
        proxy.black_hole(broker=2, api=Api.API_VERSIONS)
        with Client(first) as client:
            assert client.ask() == reply()
            assert client.ask(api=Api.API_VERSIONS) == reply()
        assert [fault.verb for fault in proxy.faults.without_effect] == [
            "lose_next_ack",
            "garble_next_reply",
            "cut_next_request",
            "black_hole",
        ]
        with Client(second) as client:
            client.send(api=Api.API_VERSIONS, body=b"lost")
            assert client.ask(api=Api.SASL_HANDSHAKE) == reply()
            assert client.ask() == b""
        assert proxy.effects == {"lose_next_ack": 1, "black_hole": 1, "garble_next_reply": 0, "cut_next_request": 0}
        assert b"lost" not in b"".join(echo.got)
        with pytest.raises(ValueError, match="no broker 3"):
            proxy.lose_next_ack(broker=3)


def test_healed_everything_passes_again(proxy: FaultProxy, client: Client) -> None:
    """`heal` ends what lasts and forgets what did not strike yet."""
    proxy.lose_next_ack()
    proxy.swallow_next_ack()
    proxy.black_hole()
    proxy.heal()
    assert client.ask() == reply()


# --- single replies and requests ---------------------------------------------------------------


def test_a_lost_ack_was_processed_and_its_connection_ends(proxy: FaultProxy, client: Client, echo: Echo) -> None:
    """The request reaches the broker, the reply does not reach the client, the next connection is fine."""
    fault = proxy.lose_next_ack()
    assert client.ask() == b""
    assert len(echo.got) == 1
    assert (fault.effects, fault.frames) == (1, [reply()])
    with Client(proxy.bootstrap_servers) as again:
        assert again.ask() == reply()
    assert proxy.effects == {"lose_next_ack": 1}


def test_a_swallowed_ack_leaves_the_connection_open(proxy: FaultProxy, client: Client, echo: Echo) -> None:
    """The reply is gone; the following one arrives."""
    fault = proxy.swallow_next_ack(times=2)
    for number in (1, 2):
        client.send(correlation=number)
    fault.wait(2)
    assert client.ask(correlation=3) == reply(correlation=3)
    assert len(echo.got) == 3


def test_a_held_request_lands_when_released(proxy: FaultProxy, client: Client, echo: Echo) -> None:
    """Later requests overtake it; its reply comes after them, and is told."""
    held = proxy.hold_next_request()
    client.send(b"first", correlation=1)
    held.wait()
    assert client.ask(b"second", correlation=2) == reply(b"second", 2)
    assert [data[8:] for data in echo.got] == [b"second"]
    held.release()
    assert client.receive() == reply(b"first", 1)
    assert [data[8:] for data in echo.got] == [b"second", b"first"]


async def test_a_held_request_lands_though_its_client_has_gone(proxy: FaultProxy, echo: Echo) -> None:
    """The broker's side stays open for it until the broker has answered."""
    with Client(proxy.bootstrap_servers) as client:
        assert client.ask(b"before") == reply(b"before")
        held = proxy.hold_next_request()
        client.send(b"late", correlation=7)
        await held.happened()
    await asyncio.sleep(MOMENT)
    assert (len(echo.got), echo.ended) == (1, 0)
    held.release()
    assert await held.answer() == reply(b"late", 7)
    assert len(echo.got) == 2
    until(lambda: echo.ended == 1)


def test_a_held_request_that_is_dropped_never_lands(proxy: FaultProxy, echo: Echo) -> None:
    """Stopped instead of released, it is gone with its connection."""
    with Client(proxy.bootstrap_servers) as client:
        assert client.ask(b"before") == reply(b"before")
        held = proxy.hold_next_request()
        client.send(b"late")
        held.wait()
    proxy.heal()
    until(lambda: echo.ended == 1)
    assert len(echo.got) == 1


@pytest.mark.parametrize("after", [0, 3, 8, 10])
def test_a_reply_cut_in_the_middle(proxy: FaultProxy, client: Client, echo: Echo, after: int) -> None:
    """The client gets that many bytes and the end."""
    proxy.cut_next_reply(after)
    client.send()
    got = b""
    while chunk := client.receive():
        got += chunk
    assert got == reply()[:after]
    assert len(echo.got) == 1


@pytest.mark.parametrize("after", [0, 3, 14])
def test_a_request_cut_in_the_middle(proxy: FaultProxy, client: Client, echo: Echo, after: int) -> None:
    """The broker sees an incomplete request and the end of the connection; the client the end."""
    assert client.ask(b"before") == reply(b"before")
    fault = proxy.cut_next_request(after)
    assert client.ask() == b""
    until(lambda: echo.ended == 1)
    assert fault.effects == 1
    assert b"hello" not in [data[8:] for data in echo.got]


def test_garbage_has_the_right_size_and_number_and_is_repeatable(proxy: FaultProxy, client: Client) -> None:
    """Only what the reply says is noise, and the same noise for a seed."""
    answers = []
    for seed in (1, 1, 2):
        proxy.garble_next_reply(seed=seed)
        answers.append(client.ask(b"x" * 32, correlation=5))
    assert {answer[:8] for answer in answers} == {reply(b"x" * 32, 5)[:8]}
    assert answers[0] == answers[1] != answers[2]
    assert reply(b"x" * 32, 5) not in answers


def test_a_wrong_correlation_id(proxy: FaultProxy, client: Client) -> None:
    """The reply belongs to another request; the rest of it is untouched."""
    proxy.misnumber_next_reply(3)
    assert client.ask(correlation=5) == reply(correlation=8)
    assert client.ask(correlation=6) == reply(correlation=6)


@pytest.mark.parametrize("size", [2**31 - 1, -1, 0])
def test_a_size_that_is_a_lie(proxy: FaultProxy, client: Client, size: int) -> None:
    """The first four bytes say what was asked for."""
    proxy.missize_next_reply(size)
    assert client.ask() == struct.pack(">i", size) + reply()[4:]


# --- what lasts -----------------------------------------------------------------------------------


def test_one_byte_at_a_time(proxy: FaultProxy, client: Client) -> None:
    """Each byte of a reply comes by itself; the next reply comes whole."""
    proxy.trickle(0.02, times=1)
    client.send()
    started = time.monotonic()
    got: list[bytes] = []
    while len(b"".join(got)) < len(reply()):
        got.append(client.receive())
    assert b"".join(got) == reply()
    assert max(map(len, got)) <= 2  # two may be read together on a busy machine
    assert time.monotonic() - started >= 0.02 * (len(reply()) - 1)
    assert client.ask() == reply()


def test_requests_can_trickle_too(proxy: FaultProxy, client: Client, echo: Echo) -> None:
    """The broker gets one byte at a time."""
    fault = proxy.trickle(0.005, replies=False)
    started = time.monotonic()
    assert client.ask() == reply()
    assert time.monotonic() - started >= 0.005 * (len(request()) - 1)
    fault.stop()
    assert len(echo.got) == 1


def test_a_black_hole_takes_everything_and_answers_nothing(proxy: FaultProxy, client: Client, echo: Echo) -> None:
    """Existing connections fall silent, new ones are accepted; both work when it is over."""
    assert client.ask() == reply()
    hole = proxy.black_hole()
    client.send()
    with Client(proxy.bootstrap_servers) as other:
        other.send()
        hole.wait(2)
        assert client.hears_nothing()
        assert other.hears_nothing()
        hole.stop()
        assert other.ask() == reply()
    assert client.ask() == reply()
    assert len(echo.got) == 3


def test_a_black_hole_swallows_what_was_on_its_way_back(proxy: FaultProxy, client: Client, echo: Echo) -> None:
    """A request that had landed before gets no answer either."""
    held = proxy.hold_next_request()
    client.send()
    held.wait()
    hole = proxy.black_hole()
    held.release()
    hole.wait()
    assert client.hears_nothing()
    assert len(echo.got) == 1


def test_a_delay_each_way_with_seeded_jitter(proxy: FaultProxy, client: Client) -> None:
    """A round trip takes twice the latency at least; order is kept under jitter, nothing is lost."""
    delay = proxy.latency(0.03)
    started = time.monotonic()
    assert client.ask() == reply()
    assert 0.06 <= time.monotonic() - started < 0.5
    delay.stop()
    jitter = proxy.latency(0.0, 0.02, seed=3)
    client.socket.sendall(b"".join(request(correlation=n) for n in range(50)))
    expected = b"".join(reply(correlation=n) for n in range(50))
    answer = b""
    while len(answer) < len(expected):
        answer += client.receive()
    assert answer == expected
    assert jitter.effects == 100


def test_delays_overlap(proxy: FaultProxy, client: Client) -> None:
    """Latency is no limit of throughput: fifty requests sent at once take one round trip."""
    proxy.latency(0.05)
    started = time.monotonic()
    client.socket.sendall(b"".join(request(correlation=n) for n in range(50)))
    left = 50 * len(reply())
    while left:
        left -= len(client.receive())
    assert time.monotonic() - started < 1.0


@pytest.mark.parametrize("filtered", [False, True])
def test_a_peer_that_does_not_read_stalls_the_writer(
    proxy: FaultProxy, client: Client, echo: Echo, *, filtered: bool
) -> None:
    """Nothing more reaches the broker, and soon no more bytes can be written; then all arrive."""
    assert client.ask() == reply()
    fault = proxy.stop_reading(api=Api.PRODUCE) if filtered else proxy.stop_reading()
    large = request(b"z" * 32_000_000, correlation=2)
    client.socket.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.socket.sendall(large)
    assert len(echo.got) == 1
    with Client(proxy.bootstrap_servers) as other:
        if filtered:
            assert other.ask(api=Api.METADATA) == reply()
        else:
            other.send()
            assert other.hears_nothing()
    assert fault.effects == (1 if filtered else 2)


def knock(proxy: FaultProxy) -> None:
    """Connect, and listen."""
    with Client(proxy.bootstrap_servers) as client:
        client.receive()


def test_a_refused_client_sees_a_reset(proxy: FaultProxy, client: Client) -> None:
    """Connections that exist and new ones are reset while it lasts, and counted."""
    assert client.ask() == reply()
    fault = proxy.refuse()
    with pytest.raises(ConnectionResetError):
        client.receive()
    with pytest.raises(ConnectionResetError):  # perhaps while it still connects
        knock(proxy)
    fault.stop()
    assert fault.effects == 2
    with Client(proxy.bootstrap_servers) as other:
        assert other.ask() == reply()


def test_a_closed_port_refuses_until_it_is_open_again(proxy: FaultProxy, client: Client) -> None:
    """The kernel says no; the same port listens afterwards."""
    assert client.ask() == reply()
    fault = proxy.close_port()
    with pytest.raises(ConnectionResetError):
        client.receive()
    with pytest.raises(ConnectionRefusedError):
        Client(proxy.bootstrap_servers)
    fault.stop()
    with Client(proxy.bootstrap_servers) as other:
        assert other.ask() == reply()
    assert fault.effects == 2  # the port and the connection


def test_connections_can_be_reset_once(proxy: FaultProxy, client: Client) -> None:
    """The connections there are end; new ones are served at once."""
    assert client.ask() == reply()
    assert proxy.reset_connections().effects == 1
    with pytest.raises(ConnectionResetError):
        client.receive()
    with Client(proxy.bootstrap_servers) as other:
        assert other.ask() == reply()


# --- around it -------------------------------------------------------------------------------------


async def test_a_blocked_event_loop_does_not_stop_the_proxy(proxy: FaultProxy, client: Client) -> None:
    """Delays and releases go on in a thread of their own while the test's loop is stuck."""
    proxy.latency(0.02)
    started = time.monotonic()
    assert client.ask() == reply()  # blocks the event loop: this is a socket's own recv
    assert time.monotonic() - started < 1.0


def test_a_fault_that_does_not_strike_is_no_success(proxy: FaultProxy, client: Client) -> None:
    """Waiting for it fails, and it is listed."""
    fault = proxy.lose_next_ack()
    assert client.ask(api=Api.METADATA) == reply()
    with pytest.raises(TimeoutError, match="lose_next_ack"):
        fault.wait(timeout=0.05)
    assert proxy.faults.without_effect == [fault]


def test_closing_ends_connections_threads_and_what_is_held(echo: Echo) -> None:
    """Nothing is left, and closing twice is fine."""
    proxy = FaultProxy.before(echo.address, free_ports(1))
    proxy.start()
    with Client(proxy.bootstrap_servers) as client, Client(proxy.bootstrap_servers) as other:
        assert other.ask(b"") == reply(b"")
        held = proxy.hold_next_request()
        client.send()
        held.wait()
        proxy.stop_reading()
        proxy.close()
        proxy.close()
        with contextlib.suppress(ConnectionResetError):
            assert client.receive() == b""
    assert len(echo.got) == 1
    until(lambda: echo.ended >= 1)


def test_an_opaque_proxy_passes_what_is_not_kafka(echo: Echo) -> None:
    """Bytes pass as they come, and can still be lost, delayed, and stopped."""
    with (
        FaultProxy.before(echo.address, free_ports(1), opaque=True) as proxy,
        Client(proxy.bootstrap_servers) as client,
    ):
        client.socket.sendall(request()[:5])
        client.socket.sendall(request()[5:])
        assert client.receive() == reply()
        cut = proxy.cut_next_reply(2)
        assert client.ask() == reply()[:2]
        assert cut.effects == 1
        assert not proxy.requests


def test_eventpubs_embedded_broker_can_stand_behind_it() -> None:
    """ApiVersions by hand, straight and with its answer lost."""
    with (
        EmbeddedKafka() as kafka,
        FaultProxy.before(kafka.bootstrap_servers, free_ports(1)) as proxy,
        Client(proxy.bootstrap_servers) as client,
    ):
        client_id = struct.pack(">h", -1)
        answer = client.ask(client_id, Api.API_VERSIONS, 9)
        assert answer[4:10] == struct.pack(">ih", 9, 0)
        fault = proxy.lose_next_ack(api=Api.API_VERSIONS)
        assert client.ask(client_id, Api.API_VERSIONS, 10) == b""
        assert fault.frames[0][4:10] == struct.pack(">ih", 10, 0)


def test_frames_are_cut_wherever_the_bytes_come_apart() -> None:
    """Byte by byte or all at once, the same frames; a negative size is no frame."""
    stream = request(b"a") + request(b"") + request(b"c" * 100)
    whole = list(kafka_frames.Splitter().feed(stream))
    splitter = kafka_frames.Splitter()
    single = [frame for i in range(len(stream)) for frame in splitter.feed(stream[i : i + 1])]
    assert whole == single == [request(b"a"), request(b""), request(b"c" * 100)]
    with pytest.raises(NotAFrameError):
        list(splitter.feed(b"\xff\xff\xff\xff"))
