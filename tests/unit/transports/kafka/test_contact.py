"""Finding a broker that answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from eventpub.config import Address
from eventpub.transports.kafka.answers import ClusterMetadata
from eventpub.transports.kafka.contact import Answering, Contact
from eventpub.transports.kafka.errors import (
    AccessRefusedError,
    ConnectionFault,
    ConnectionLostError,
    NoAnswerError,
    TransportClosedError,
    UnreachableError,
)
from tests.unit.transports.kafka.fakes import FakeLink, settle

A, B, C, D = (Address(name, 9092) for name in "abcd")
PATIENCE = 5.0


class World:
    """A contact and the brokers it may find; each address is a link, a fault, or black (silent for ever)."""

    def __init__(self, *bootstrap: Address, **brokers: FakeLink | ConnectionFault) -> None:
        self.loop = asyncio.get_running_loop()
        self.brokers: dict[str, FakeLink | ConnectionFault] = dict(brokers)
        self.connects: list[tuple[float, str]] = []
        self.contact = Contact(bootstrap, self.connect, PATIENCE)

    async def connect(self, address: Address) -> FakeLink:
        """Answer a connect as that broker does."""
        self.connects.append((self.loop.time(), address.host))
        broker = self.brokers.get(address.host)
        if broker is None:
            await asyncio.sleep(10)
            raise UnreachableError(f"{address} did not let us in")
        if isinstance(broker, ConnectionFault):
            raise broker
        return broker

    async def ask(
        self, question: Callable[[Answering], asyncio.Future[ClusterMetadata]] | None = None
    ) -> ClusterMetadata:
        """Ask for the brokers."""
        return await self.contact.ask(lambda link: link.metadata([]))

    @property
    def hosts(self) -> set[str]:
        """Whom it tried."""
        return {host for _, host in self.connects}


async def test_the_one_that_answered_is_asked_again() -> None:
    """One connection serves all questions."""
    world = World(A, B, a=FakeLink(), b=FakeLink())
    for _ in range(5):
        await world.ask()
    assert len(world.connects) == 1


async def test_a_silent_server_costs_a_second() -> None:
    """The next one is tried beside it, and the first connection attempt is given up for the answer."""
    for _ in range(10):  # the order is random
        world = World(A, B, b=FakeLink())
        began = world.loop.time()
        await world.ask()
        assert world.loop.time() - began < 1.1


async def test_a_server_that_is_away_costs_nothing() -> None:
    """A refused connection is answer enough to go on at once."""
    world = World(A, B, C, a=UnreachableError("away"), b=UnreachableError("away"), c=FakeLink())
    await world.ask()
    assert world.loop.time() < 0.1


async def test_a_broker_that_stops_answering_is_replaced() -> None:
    """Its connection stays open and silent: a second later another one is asked, and kept."""
    silent, other = FakeLink(), FakeLink()
    world = World(A, a=silent)
    await world.ask()
    silent.silent = True
    world.brokers["b"] = other
    world.contact.update([A, B])
    began = world.loop.time()
    await world.ask()
    assert world.loop.time() - began < 1.1
    assert silent.aborted is not None
    await world.ask()
    assert len(other.asked) == 2
    assert other.aborted is None
    assert [host for _, host in world.connects] == ["a", "b"]


async def test_brokers_that_all_moved_are_found_by_the_bootstrap_servers() -> None:
    """No known broker answers any more; the servers the user named do."""
    old, new = FakeLink(), FakeLink()
    world = World(A, a=old)
    await world.ask()
    world.contact.update([B, C])
    world.brokers |= {"a": new, "b": UnreachableError("gone"), "c": UnreachableError("gone")}
    old.abort(ConnectionLostError("reset"))
    await world.ask()
    assert len(new.asked) == 1


async def test_known_brokers_are_found_when_the_bootstrap_servers_are_gone() -> None:
    """The name that was bootstrapped from may have gone since."""
    first = FakeLink()
    world = World(A, a=first, c=FakeLink())
    await world.ask()
    world.contact.update([B, C, D])
    world.brokers |= {"a": UnreachableError("gone"), "b": UnreachableError("gone"), "d": UnreachableError("gone")}
    first.abort(ConnectionLostError("reset"))
    await world.ask()


async def test_nobody_answers() -> None:
    """All were tried, in bounded time, and each one's reason is kept."""
    world = World(A, B, a=UnreachableError("away"))
    with pytest.raises(UnreachableError):
        await world.ask()
    assert world.hosts == {"a", "b"}
    assert set(world.contact.faults) == {A, B}
    assert world.loop.time() < 12


async def test_an_answer_clears_the_faults() -> None:
    """What was wrong before is no problem any more."""
    world = World(A, a=UnreachableError("away"))
    with pytest.raises(UnreachableError):
        await world.ask()
    world.brokers["a"] = FakeLink()
    await world.ask()
    assert world.contact.faults == {}


async def test_a_refusal_counts_when_nobody_answers() -> None:
    """A wrong password at one server and silence at the others: the password is the news."""
    world = World(A, B, a=UnreachableError("away"), b=AccessRefusedError("wrong password"))
    with pytest.raises(AccessRefusedError):
        await world.ask()
    assert isinstance(world.contact.refusal, AccessRefusedError)


async def test_a_refusal_does_not_count_when_somebody_answers() -> None:
    """One server with a bad certificate does not stop a client that others let in."""
    for _ in range(5):
        world = World(A, B, a=FakeLink(), b=AccessRefusedError("certificate"))
        await world.ask()
        assert world.contact.refusal is None


async def test_a_question_has_its_time() -> None:
    """One silent broker, nobody else: the question ends, and so does that connection; little time at first."""
    world = World(A)
    taken = []
    for _ in range(3):
        world.brokers["a"] = link = FakeLink(silent=True)
        began = world.loop.time()
        with pytest.raises(NoAnswerError):
            await world.ask()
        taken.append(world.loop.time() - began)
        assert link.aborted is not None
    assert taken == pytest.approx([2.0, 4.0, PATIENCE], abs=0.01)


async def test_two_questions_at_once_end_with_one_connection() -> None:
    """At a cold start each makes its own; one is kept."""
    links: list[FakeLink] = []
    world = World(A)

    async def connect(address: Address) -> FakeLink:
        links.append(link := FakeLink())
        await asyncio.sleep(0.01)
        return link

    world.contact._connect = connect
    await asyncio.gather(world.ask(), world.ask())
    assert [link.usable for link in links].count(True) == 1


async def test_a_session_that_ends_soon_is_not_used() -> None:
    """The broker would end the connection under the question."""
    old, new = FakeLink(session_lifetime=100.0), FakeLink()
    world = World(A, a=old)
    await world.ask()
    world.brokers["a"] = new
    await asyncio.sleep(80)
    await world.ask()
    assert new.asked == []
    await asyncio.sleep(6)
    await world.ask()
    assert len(new.asked) == 1
    assert not old.usable


async def test_cancelled_it_leaves_no_connection() -> None:
    """Neither the attempts nor the connection whose answer was waited for."""
    silent = FakeLink(silent=True)
    world = World(A, B, a=silent)
    task = asyncio.create_task(world.ask())
    await asyncio.sleep(1.5)
    task.cancel()
    await asyncio.wait([task])
    assert not silent.usable


async def test_closing_ends_the_question() -> None:
    """Whoever asked hears why."""
    link = FakeLink()
    world = World(A, a=link)
    await world.ask()
    world.contact.close(TransportClosedError("closed"))
    await settle()
    assert not link.usable
    await world.contact.wait_closed()


class Late(FakeLink):
    """Answers at a certain time."""

    async def metadata(self, topics: list[str], /) -> ClusterMetadata:
        """Answer two seconds after the test began."""
        await asyncio.sleep(2.0 - asyncio.get_running_loop().time())
        return await super().metadata(topics)


async def test_two_answers_in_one_turn_end_with_one_connection() -> None:
    """The second to be looked at has nobody who waits for it any more."""
    links = {"a": Late(), "b": Late()}
    world = World(A, B, **links)
    await world.ask()
    assert world.loop.time() < 2.01
    assert sorted(link.usable for link in links.values()) == [False, True]


@pytest.mark.parametrize("ended", [ConnectionLostError("hung up"), TransportClosedError("closed")])
async def test_a_connection_that_ends_at_its_first_question_is_told_apart(ended: ConnectionFault) -> None:
    """A listener that wants SASL lets everybody in, and hangs up at the first question."""

    class HangsUp(FakeLink):
        async def metadata(self, topics: list[str], /) -> ClusterMetadata:
            raise ended

    world = World(A, a=HangsUp())
    with pytest.raises(UnreachableError if isinstance(ended, ConnectionLostError) else TransportClosedError) as caught:
        await world.ask()
    assert ("is security_protocol right?" in str(caught.value)) is isinstance(ended, ConnectionLostError)
