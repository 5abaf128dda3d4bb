"""One broker's connection: made on demand, remade with pauses, renewed before its session ends."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from eventpub.transports.kafka.errors import (
    AccessRefusedError,
    ConnectionLostError,
    TransportClosedError,
    UnreachableError,
)
from eventpub.transports.kafka.line import Line
from tests.unit.transports.kafka.fakes import HERE, THERE, FakeConnect, FakeLink, settle

CLOSED = TransportClosedError("closed")


class World:
    """A line, what it connects to, and what it complained of."""

    def __init__(self, *plan: FakeLink | Exception | float) -> None:
        self.connect = FakeConnect(list(plan))  # type: ignore[arg-type]  # faults are exceptions
        self.troubles: list[float] = []
        self.loop = asyncio.get_running_loop()
        self.line = Line(HERE, self.connect, lambda: self.troubles.append(self.loop.time()))

    async def insist(self, seconds: float) -> None:
        """Want the connection again whenever the bell rings, as a lane does."""
        until = self.loop.time() + seconds
        while self.loop.time() < until and self.line.link is None:
            self.line.want()
            await asyncio.sleep(0.01)

    async def end(self) -> None:
        """Close it, so that nothing is left."""
        self.line.close(CLOSED)
        await self.line.wait_closed()


async def test_nothing_is_connected_before_it_is_wanted() -> None:
    """A broker that nobody writes to costs no socket."""
    world = World()
    await asyncio.sleep(10)
    assert world.connect.attempts == []


async def test_wanted_it_connects_once() -> None:
    """A thousand lanes that want the same broker make one connection."""
    world = World()
    for _ in range(1000):
        world.line.want()
    await settle()
    world.line.want()
    await settle()
    assert len(world.connect.attempts) == 1
    assert world.line.link is world.connect.made[0]


async def test_a_broker_that_is_away_is_tried_with_growing_pauses() -> None:
    """Bounded and jittered: no reconnect storm, however many lanes insist."""
    world = World(*[UnreachableError("nobody listens")] * 200)
    await world.insist(60)
    times = [at for at, _ in world.connect.attempts]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert 50 <= len(times) <= 90
    assert gaps[0] < 0.08
    assert max(gaps) <= 1.25
    assert len({round(gap, 4) for gap in gaps[10:]}) > 5
    await world.end()


async def test_a_refusal_is_tried_less_often() -> None:
    """A wrong password is not knocked with sixty times a minute."""
    world = World(*[AccessRefusedError("wrong password")] * 200)
    await world.insist(60)
    assert len(world.connect.attempts) <= 14
    assert isinstance(world.line.fault, AccessRefusedError)
    await world.end()


async def test_each_failure_asks_for_metadata() -> None:
    """The leader that cannot be reached may be another one by now."""
    world = World(UnreachableError("away"), UnreachableError("away"))
    await world.insist(5)
    assert len(world.troubles) == 2


async def test_a_lost_connection_comes_back_at_once_when_wanted() -> None:
    """One that had lasted is no sign of trouble: the first attempt is not delayed."""
    world = World()
    await world.insist(1)
    await asyncio.sleep(60)
    world.connect.made[0].abort(ConnectionLostError("reset"))
    assert world.line.link is None
    assert len(world.troubles) == 1
    began = world.loop.time()
    await world.insist(1)
    assert world.connect.attempts[-1][0] - began < 0.001


async def test_a_broker_that_hangs_up_again_and_again_is_not_hammered() -> None:
    """So it does when it refuses acks=0 batches: each connection is made, and ends at once."""
    world = World()
    until = world.loop.time() + 30
    while world.loop.time() < until:
        await world.insist(5)
        assert world.line.link is not None
        world.line.link.abort(ConnectionLostError("reset"))
    assert len(world.connect.attempts) <= 45


async def test_a_moved_broker_is_looked_for_where_it_is() -> None:
    """The attempt at the old address is given up, not waited for."""
    world = World(10.0)
    world.line.want()
    await asyncio.sleep(1)
    world.line.move(THERE)
    await world.insist(1)
    assert [address for _, address in world.connect.attempts] == [HERE, THERE]
    assert world.line.link is not None


async def test_a_session_is_renewed_before_it_ends() -> None:
    """At 85 % of its lifetime there is a new connection, and the old one is ended."""
    world = World(FakeLink(session_lifetime=100.0), FakeLink(session_lifetime=100.0))
    await world.insist(1)
    await asyncio.sleep(84)
    assert len(world.connect.made) == 1
    await asyncio.sleep(2)
    old, new = world.connect.made
    assert world.line.link is new
    assert old.aborted is not None
    assert world.troubles == []
    await world.end()


async def test_a_request_in_flight_survives_the_renewal() -> None:
    """The old connection ends when its answer has come, not before."""
    world = World(FakeLink(session_lifetime=100.0))
    await world.insist(1)
    old = world.connect.made[0]
    world.line.acquire(old)
    await asyncio.sleep(90)
    assert world.line.link is not old
    assert old.aborted is None
    world.line.release(old)
    await settle()
    assert old.aborted is not None


async def test_a_renewal_that_fails_is_tried_again_while_the_session_lasts() -> None:
    """The old connection is used meanwhile, but not beyond its session."""
    away = [UnreachableError("away")] * 100
    world = World(FakeLink(session_lifetime=100.0), *away)
    await world.insist(1)
    await asyncio.sleep(94)
    assert world.line.link is world.connect.made[0]
    assert len(world.connect.attempts) > 3
    await asyncio.sleep(4)
    assert world.line.link is None
    assert world.connect.made[0].aborted is not None
    await world.end()


async def test_an_idle_connection_is_ended_before_the_broker_does_it() -> None:
    """A request written just when the broker closes an idle connection would be in doubt."""
    world = World()
    await world.insist(1)
    world.line.acquire(world.connect.made[0])
    world.line.release(world.connect.made[0])
    await asyncio.sleep(539)
    assert world.line.link is not None
    await asyncio.sleep(2)
    assert world.line.link is None
    assert world.connect.made[0].aborted is not None


async def test_closing_while_connecting_leaves_nothing() -> None:
    """The attempt is cancelled; no task and no timer is left, and nobody connects any more."""
    world = World(10.0)
    world.line.want()
    await settle()
    world.line.close(CLOSED)
    await world.line.wait_closed()
    assert world.loop.time() < 1
    world.line.want()
    await asyncio.sleep(60)
    assert len(world.connect.attempts) == 1


async def test_closing_ends_the_connection_and_its_timers() -> None:
    """The closed connection hears why, and is not mourned by a metadata refresh."""
    world = World(FakeLink(session_lifetime=100.0))
    await world.insist(1)
    world.line.close(CLOSED)
    await world.line.wait_closed()
    assert world.connect.made[0].aborted is CLOSED
    await asyncio.sleep(1000)
    assert len(world.connect.attempts) == 1
    assert world.troubles == []


@pytest.mark.parametrize("fault", [UnreachableError("away"), AccessRefusedError("no")])
async def test_failure_wakes_those_who_wait(fault: Exception) -> None:
    """They look again whether this broker is still the one they need."""
    world = World(fault)
    world.line.want()
    rung = asyncio.get_running_loop().create_future()
    world.line.bell.add(rung)
    await asyncio.wait_for(rung, 1)
