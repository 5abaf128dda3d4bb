"""One producer id for all who ask."""

from __future__ import annotations

import asyncio
import contextlib

from eventpub.abc import ProducerId, Rejected
from eventpub.config import Address
from eventpub.transports.kafka.contact import Contact
from eventpub.transports.kafka.errors import (
    AccessRefusedError,
    ConnectionFault,
    ConnectionLostError,
    UnreachableError,
)
from eventpub.transports.kafka.producer_id import ProducerIds
from tests.unit.transports.kafka.fakes import HERE, FakeLink, settle


class Broker(FakeLink):
    """Hands out ids, or what is in the script first."""

    def __init__(self, *script: ProducerId | Rejected | ConnectionFault) -> None:
        super().__init__()
        self.script = list(script)
        self.given = 0

    async def init_producer_id(self) -> ProducerId | Rejected:
        """Answer as scripted, then with the next id."""
        await asyncio.sleep(0.01)
        self.given += 1
        step = self.script.pop(0) if self.script else ProducerId(100 + self.given, 0)
        if isinstance(step, ConnectionFault):
            raise step
        return step


def ids_of(*script: ProducerId | Rejected | ConnectionFault) -> tuple[ProducerIds, Broker]:
    """Return ids asked of a scripted broker."""
    broker = Broker(*script)

    async def connect(_: Address) -> FakeLink:
        broker.usable = True
        return broker

    return ProducerIds(Contact([HERE], connect, 5.0)), broker


async def test_one_id_for_all_who_ask() -> None:
    """A thousand lanes that start at once make one request."""
    ids, broker = ids_of()
    got = await asyncio.gather(*(ids.get(None) for _ in range(1000)))
    assert len(set(got)) == 1
    assert broker.given == 1


async def test_a_stale_id_is_replaced_once() -> None:
    """Partitions that used up their epochs get the same new one."""
    ids, broker = ids_of()
    first = await ids.get(None)
    assert isinstance(first, ProducerId)
    second, third = await asyncio.gather(ids.get(first.id), ids.get(first.id))
    assert second == third != first
    assert await ids.get(None) == second
    assert broker.given == 2


async def test_it_is_asked_for_until_a_broker_answers() -> None:
    """A lost connection or a broker that is still loading is no refusal."""
    ids, broker = ids_of(
        ConnectionLostError("reset"), Rejected("here", 14), Rejected("here", 15), UnreachableError("x")
    )
    assert isinstance(await ids.get(None), ProducerId)
    assert broker.given == 5


async def test_a_refusal_is_an_answer() -> None:
    """CLUSTER_AUTHORIZATION_FAILED (31) reaches all who wait; the next one asks again."""
    ids, broker = ids_of(Rejected("here", 31))
    both = await asyncio.gather(ids.get(None), ids.get(None))
    assert list(both) == [Rejected("here", 31)] * 2
    assert isinstance(await ids.get(None), ProducerId)
    assert broker.given == 2


async def test_when_nobody_waits_it_is_not_asked_for() -> None:
    """A cancelled wait leaves no request going on for ever."""
    ids, broker = ids_of(*[Rejected("here", 14)] * 1000)
    task = asyncio.create_task(ids.get(None))
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(5)
    given = broker.given
    await asyncio.sleep(60)
    assert broker.given == given


async def test_closing_ends_every_wait() -> None:
    """With a value, and without a task left."""
    ids, _ = ids_of(*[Rejected("here", 14)] * 1000)
    task = asyncio.create_task(ids.get(None))
    await settle()
    ids.close()
    await ids.wait_closed()
    assert isinstance(await task, Rejected)
    assert isinstance(await ids.get(None), Rejected)


async def test_a_client_that_is_not_let_in_knocks_less_often() -> None:
    """Each refusal may count towards a lockout."""
    attempts: list[float] = []
    loop = asyncio.get_running_loop()

    async def connect(_: Address) -> FakeLink:
        attempts.append(loop.time())
        raise AccessRefusedError("wrong password")

    ids = ProducerIds(Contact([HERE], connect, 5.0))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(60):
            await ids.get(None)
    ids.close()
    await ids.wait_closed()
    assert 5 <= len(attempts) <= 14
