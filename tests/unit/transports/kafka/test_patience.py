"""A connect that is not answered is given up soon at first, and later later."""

from __future__ import annotations

import asyncio

import pytest

from eventpub.config import Address
from eventpub.transports.kafka.errors import AccessRefusedError, ConnectionFault, UnreachableError
from eventpub.transports.kafka.patience import PatientConnect
from tests.unit.transports.kafka.fakes import HERE, THERE


class Server:
    """Answers a connect after so many seconds, or with a fault."""

    def __init__(self, takes: float = 3600.0, fault: ConnectionFault | None = None) -> None:
        self.takes = takes
        self.fault = fault
        self.open = 0

    async def __call__(self, address: Address) -> str:
        """Let in, or not."""
        self.open += 1
        try:
            await asyncio.sleep(self.takes)
        finally:
            self.open -= 1
        if self.fault is not None:
            raise self.fault
        return f"link to {address}"


async def waited(connect: PatientConnect[str], address: Address = HERE) -> float:
    """Return the seconds until a connect was given up."""
    began = asyncio.get_running_loop().time()
    with pytest.raises(UnreachableError):
        await connect(address)
    return asyncio.get_running_loop().time() - began


async def test_silence_is_waited_for_a_little_longer_each_time() -> None:
    """2 s, 4 s, 8 s; each address for itself; and nothing goes on behind what was given up."""
    server = Server()
    connect = PatientConnect(server, 30.0)
    assert [await waited(connect) for _ in range(3)] == pytest.approx([2, 4, 8])
    assert await waited(connect, THERE) == pytest.approx(2)
    assert server.open == 0


async def test_at_its_longest_the_limit_is_the_connect_s_own() -> None:
    """``connect_timeout`` acts, and what is raised then is what the connection says of it."""
    server = Server(10.0, UnreachableError("did not let us in within 10 s (connect_timeout)"))
    connect = PatientConnect(server, 10.0)
    assert [await waited(connect) for _ in range(4)] == pytest.approx([2, 4, 8, 10])
    with pytest.raises(UnreachableError, match="connect_timeout"):
        await connect(HERE)


async def test_an_answer_at_its_longest_begins_anew() -> None:
    """A broker that was away for long and is back is not waited for at length the next time."""
    server = Server()
    connect = PatientConnect(server, 10.0)
    for _ in range(3):
        await waited(connect)
    server.takes = 0.1
    await connect(HERE)
    server.takes = 3600.0
    assert await waited(connect) == pytest.approx(2)


async def test_a_short_connect_timeout_is_not_made_longer() -> None:
    """Half a second stays half a second."""
    connect = PatientConnect(Server(0.5, UnreachableError("too late")), 0.5)
    assert await waited(connect) == pytest.approx(0.5)


async def test_a_slow_server_is_let_answer_in_the_end() -> None:
    """One that takes 3 s is reached at the second try, and from then on at the first; a quick one begins anew."""
    server = Server(3.0)
    connect = PatientConnect(server, 30.0)
    assert await waited(connect) == pytest.approx(2)
    for takes in (3.0, 3.0, 0.1):
        server.takes = takes
        assert await connect(HERE) == "link to here:9092"
    server.takes = 3.0
    assert await waited(connect) == pytest.approx(2)


async def test_a_refusal_passes() -> None:
    """It is an answer, and no reason to wait longer next time."""
    connect = PatientConnect(Server(0.1, AccessRefusedError("wrong password")), 30.0)
    with pytest.raises(AccessRefusedError):
        await connect(HERE)
