"""What an operator sees: traces across the broker, where the time goes, and the log. ``python -m examples.observability``.

A shop publishes orders, another service reads them, and in between the broker misbehaves in three
ways. Then the traces of the slowest orders, the stages that eventpub measures, and what its log said
are shown. Everything runs in this process: the broker speaks Kafka's protocol, the consumer is
aiokafka's, and OpenTelemetry's SDK keeps in memory what it would export.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from opentelemetry import trace
from opentelemetry.trace import SpanKind
from rich.console import Console

from eventpub import CRITICAL, BufferLimits, Event, Publisher
from eventpub.testing import EmbeddedKafka
from examples.observability import screen
from examples.observability.consumer import Shipping
from examples.observability.telemetry import Telemetry

NOT_ENOUGH_REPLICAS = 19
TOPIC = "orders"
ORDERS = 40
ROOM = BufferLimits(max_records=16)  # little, so that some orders wait for room


class OrderPlaced(Event, type="order.placed", topic=TOPIC, key="customer"):
    """A customer placed an order."""

    customer: str
    number: int


async def place_order(publisher: Publisher, number: int) -> None:
    """Do what a request handler does: one span around it, one event in it."""
    with trace.get_tracer("shop").start_as_current_span("POST /orders", kind=SpanKind.SERVER):
        await publisher.publish(OrderPlaced(customer=f"customer-{number % 7}", number=number), timeout=20)


async def tell(kafka: EmbeddedKafka, publisher: Publisher, act: screen.Acts) -> int:
    """Place orders while this and that goes wrong; return how many there were."""
    with act("all is well"):
        await asyncio.gather(*(place_order(publisher, number) for number in range(ORDERS)))
    with act("the broker answers NOT_ENOUGH_REPLICAS, twice"):
        kafka.reject_next(NOT_ENOUGH_REPLICAS, times=2)
        await place_order(publisher, ORDERS)
    with act("answers take 150 ms"):
        kafka.latency(0.15)
        await place_order(publisher, ORDERS + 1)
        kafka.latency(0)
    with act("the broker is gone for a second"):
        kafka.down()
        asyncio.get_running_loop().call_later(1.0, kafka.up)
        await place_order(publisher, ORDERS + 2)
    return ORDERS + 3


async def run(console: Console, telemetry: Telemetry) -> bool:
    """Tell the story; return whether each order's trace reaches its consumer."""
    with EmbeddedKafka() as kafka:
        kafka.create_topic(TOPIC, 4)
        acts = screen.Acts(console)
        async with shipping(kafka) as consumer, shop(kafka) as publisher:
            await publisher.wait_ready(10)
            placed = await tell(kafka, publisher, acts)
            await consumer.until(placed)
    traces = telemetry.traces()
    screen.print_traces(console, acts.slowest(traces))
    screen.print_stages(console, telemetry.stages())
    screen.print_log(console, telemetry.lines)
    complete = sum(each.is_complete for each in traces)
    console.print(f"\n{placed} orders placed, {complete} traces from the request to the consumer")
    return complete == placed


def shop(kafka: EmbeddedKafka) -> Publisher:
    """Return the shop's publisher. It keeps no dead letters, and says that this is meant."""
    profile = CRITICAL.replace(dead_letter=False)
    return Publisher(kafka.url, source="/shop", profile=profile, buffer=ROOM)


@asynccontextmanager
async def shipping(kafka: EmbeddedKafka) -> AsyncIterator[Shipping]:
    """Run the consumer."""
    consumer = Shipping(TOPIC, kafka.bootstrap_servers)
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


def main() -> int:
    """Return 0 if every trace is complete."""
    console = Console(highlight=False)
    with Telemetry() as telemetry:
        return 0 if asyncio.run(run(console, telemetry)) else 1


if __name__ == "__main__":
    sys.exit(main())
