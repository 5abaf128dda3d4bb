"""What becomes of events while no broker is there: ``python examples/dead_letters.py [--broker kafka]``.

The broker goes away, events are kept in a file, the broker comes back, and an operator sends
them again from his terminal. The embedded broker needs nothing installed; ``kafka`` is Apache
Kafka, where a resend after a crash is recognised too.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from eventpub import CRITICAL, Event, Publisher, PublishError
from eventpub.deadletter import DeadLetters, SpoolSink
from eventpub.testing import EmbeddedKafka

ROOT = Path(__file__).parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # `support` starts Apache Kafka, and reads back what was written

from support.kafka_node import ApacheKafka  # noqa: E402 - needs the line above
from support.readback import create_topic, read_topic  # noqa: E402 - likewise


class OrderPlaced(Event, type="order.placed", topic="orders", key="customer"):
    """A customer placed an order."""

    customer: str
    number: int


class Broker(Protocol):
    """A broker that can be switched off and on."""

    @property
    def bootstrap_servers(self) -> str:
        """Where it listens."""

    def down(self) -> None:
        """Switch it off."""

    def up(self) -> None:
        """Switch it on."""


async def place_orders(broker: Broker, spool: Path) -> None:
    """Publish three orders, then five while the broker is away. The default budget is 30 s; this one is for people."""
    profile = CRITICAL.replace(delivery_timeout=1)
    letters = DeadLetters(SpoolSink(spool))
    async with Publisher(
        f"kafka://{broker.bootstrap_servers}", source="/shop", profile=profile, dead_letters=letters
    ) as publisher:
        for number in range(3):
            print(f"  order {number}: {await publisher.publish(OrderPlaced(customer='ann', number=number))}")
        print("\nThe broker goes away. Every order is kept, and its publish says where:")
        await asyncio.to_thread(broker.down)
        await asyncio.gather(*(place_order(publisher, number) for number in range(3, 8)))


async def place_order(publisher: Publisher, number: int) -> None:
    """Publish one, and print what is known of it."""
    try:
        await publisher.publish(OrderPlaced(customer="ann" if number % 2 else "bob", number=number))
    except PublishError as error:
        print(f"  order {number}: {error.status.value}, {error.dead_letter}")


def operate(broker: Broker, *arguments: str) -> None:
    """Run ``eventpub`` as an operator does, in the terminal of this example."""
    print(f"\n$ eventpub {' '.join(arguments)}", flush=True)
    environment = {**os.environ, "EVENTPUB_BOOTSTRAP_SERVERS": broker.bootstrap_servers}
    subprocess.run(
        [sys.executable, "-m", "eventpub", *arguments], env=environment, stderr=subprocess.STDOUT, check=True
    )


def main() -> int:
    """Tell the story; return 0 if every order is in the topic once, in each customer's order."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--broker", choices=("embedded", "kafka"), default="embedded", help="default: %(default)s")
    with tempfile.TemporaryDirectory(prefix="orders-") as directory:
        return tell(options.parse_args().broker, Path(directory))


def tell(kind: str, directory: Path) -> int:
    """Play all acts on one broker."""
    with running(kind, directory) as broker:
        print("Three orders, and a broker that works:")
        spool = directory / "spool.db"
        asyncio.run(place_orders(broker, spool))
        print("\nThe broker is back. What lies in the file, may it be sent again, and what would happen?")
        broker.up()
        operate(broker, "dlq", "list", "--spool", str(spool))
        operate(broker, "dlq", "replay", "--spool", str(spool), "--verify", "--dry-run")
        operate(broker, "dlq", "replay", "--spool", str(spool), "--verify")
        operate(broker, "dlq", "list", "--spool", str(spool))
        records = read_topic(broker.bootstrap_servers, "orders")
    print(f"\nAnother client reads {len(records)} orders:")
    for record in records:
        print(f"  orders[{record.partition}]@{record.offset} {(record.value or b'').decode()}")
    values = [record.value for record in records]
    return 0 if len(values) == len(set(values)) == 8 else 1


class Node:
    """Apache Kafka as a broker that is switched off by a kill."""

    def __init__(self, kafka: ApacheKafka) -> None:
        self._kafka = kafka
        self.bootstrap_servers = kafka.bootstrap_servers

    def down(self) -> None:
        """Kill it."""
        self._kafka.kill(1)

    def up(self) -> None:
        """Start it again on the same data."""
        self._kafka.start_node(1)


@contextmanager
def running(kind: str, directory: Path) -> Iterator[Broker]:
    """Run a broker with an empty topic."""
    if kind == "embedded":
        with EmbeddedKafka() as embedded:
            embedded.create_topic("orders", 2)
            yield embedded
        return
    with ApacheKafka(directory / "kafka") as kafka:
        create_topic(kafka.bootstrap_servers, "orders", 2)
        yield Node(kafka)


if __name__ == "__main__":
    sys.exit(main())
