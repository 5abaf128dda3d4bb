"""A service and its tests, in one file: ``pytest examples/test_orders.py``.

The fixtures are eventpub's: `memory_publisher` is open on each test's event loop, and writes to `memory_broker`.
"""

from dataclasses import dataclass, field
from typing import Any

import pytest

from eventpub import CRITICAL, Event, NotPersistedError, PossiblyPersistedError, Publisher
from eventpub.deadletter import DeadLetters, TopicSink
from eventpub.testing import MemoryBroker, assert_published, published


class OrderPlaced(Event, type="order.placed", topic="orders", key="customer"):
    """A customer has ordered."""

    order_id: int
    customer: str


@dataclass
class Shop:
    """The service under test: it takes orders, and says of each what became of its event."""

    publisher: Publisher
    unannounced: list[int] = field(default_factory=list)
    to_be_checked: list[str] = field(default_factory=list)

    async def place(self, order_id: int, customer: str) -> None:
        """Take an order."""
        event = OrderPlaced(order_id=order_id, customer=customer)
        try:
            await self.publisher.publish(event)
        except NotPersistedError:
            self.unannounced.append(order_id)
        except PossiblyPersistedError as error:
            self.to_be_checked.append(str(error.event_id))


@pytest.fixture
def memory_publisher_settings() -> dict[str, Any]:
    """What `memory_publisher` is made with here: failures are told within a second."""
    profile = CRITICAL.replace(delivery_timeout=0.3, dead_letter_timeout=0.3)
    return {"source": "/shop", "profile": profile, "dead_letters": DeadLetters(TopicSink("{topic}.dlq"))}


@pytest.fixture
def shop(memory_publisher: Publisher) -> Shop:
    """Open the shop."""
    return Shop(memory_publisher)


async def test_an_order_is_announced(shop: Shop, memory_broker: MemoryBroker) -> None:
    """What was ordered is in the log, once."""
    await shop.place(7, "ann")
    assert_published(memory_broker, OrderPlaced(order_id=7, customer="ann"))


async def test_a_lost_answer_makes_no_second_order(shop: Shop, memory_broker: MemoryBroker) -> None:
    """The broker has it, the answer is lost, the publisher sends it again, and the broker knows it."""
    memory_broker.lose_next_ack()
    await shop.place(7, "ann")
    (order,) = published(memory_broker, OrderPlaced)
    assert order.customer == "ann"
    assert memory_broker.injected["lose_next_ack"] == 1  # a fault without an effect shows nothing


async def test_a_refused_order_is_kept(shop: Shop, memory_broker: MemoryBroker) -> None:
    """Too large, says the broker: the shop knows, and the event is a dead letter."""
    memory_broker.reject_next(10, topic="orders")
    await shop.place(7, "ann")
    assert shop.unannounced == [7]
    assert_published(memory_broker, OrderPlaced(order_id=7, customer="ann"), topic="orders.dlq")


async def test_in_an_outage_nothing_is_announced(shop: Shop, memory_broker: MemoryBroker) -> None:
    """No broker: the shop is told in time, and certainly nothing was written."""
    memory_broker.down()
    await shop.place(7, "ann")
    assert shop.unannounced == [7]
    assert_published(memory_broker)


async def test_what_is_doubtful_is_to_be_checked(shop: Shop, memory_broker: MemoryBroker) -> None:
    """A broker that stops answering may have written it: nobody can say, and the shop does not."""
    memory_broker.lose_next_ack(disconnect=False)
    await shop.place(7, "ann")
    (order,) = published(memory_broker, OrderPlaced, topic="orders")  # its dead letter lies in another
    assert shop.to_be_checked == [order.envelope.id]
