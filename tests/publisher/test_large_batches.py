"""Batches that take long to encode are encoded in a thread, and nothing else changes."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from eventpub import CRITICAL, SerializationError, UnavailableError
from eventpub.transports.memory import MemoryTransport
from tests.publisher.kit import error_of, one_partition, opened, record, values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventpub.abc import Compression, Stamp, WireBatch
    from eventpub.record import Record

PACKED = CRITICAL.replace(compression="gzip", dead_letter=False)
LARGE = 100_000  # bytes, which take gzip more than 5 ms


class Watched(MemoryTransport):
    """Notes in which threads it encodes, and waits there until it is let go on."""

    def __init__(self, *, at_once: bool = True) -> None:
        super().__init__(one_partition())
        self.threads: list[int] = []
        self.go_on = threading.Event()
        self.began = threading.Event()
        self.fault: Exception | None = None
        if at_once:
            self.go_on.set()

    def encode(self, records: Sequence[Record], stamp: Stamp, compression: Compression, /) -> WireBatch:
        """Encode, or fail as told."""
        self.threads.append(threading.get_ident())
        if threading.get_ident() != threading.main_thread().ident:
            self.began.set()
            assert self.go_on.wait(10)
        if self.fault is not None:
            raise self.fault
        return super().encode(records, stamp, compression)


@pytest.mark.parametrize("size, elsewhere", [(1_000, False), (LARGE, True)])
async def test_the_loop_encodes_what_is_small_only(size: int, *, elsewhere: bool) -> None:
    """What gzip needs more than 5 ms for is encoded in another thread."""
    transport = Watched()
    async with opened(transport, profile=PACKED) as publisher:
        await publisher.publish(record("x" * size))
    assert [thread != threading.get_ident() for thread in transport.threads] == [elsewhere]


async def test_uncompressed_batches_stay_on_the_loop() -> None:
    """Copying a megabyte takes less than 5 ms, and a thread would take as long to start."""
    transport = Watched()
    async with opened(transport, profile=CRITICAL.replace(dead_letter=False)) as publisher:
        await publisher.publish(record("x" * 1_000_000))
    assert transport.threads == [threading.get_ident()]


async def test_order_is_kept_while_a_batch_is_encoded() -> None:
    """What is published meanwhile comes behind it."""
    transport = Watched(at_once=False)
    async with opened(transport, profile=PACKED) as publisher:
        first = asyncio.create_task(publisher.publish(record("1" * LARGE)))
        await asyncio.to_thread(transport.began.wait, 10)
        second = asyncio.create_task(publisher.publish(record("2")))
        await asyncio.sleep(0)
        transport.go_on.set()
        await asyncio.gather(first, second)
    assert [value[0] for value in values(transport.broker)] == ["1", "2"]


async def test_a_batch_that_cannot_be_encoded_in_a_thread_fails_alone() -> None:
    """Its caller learns why; the next event goes on."""
    transport = Watched()
    async with opened(transport, profile=PACKED) as publisher:
        transport.fault = ValueError("no")
        assert isinstance(await error_of(publisher.publish(record("x" * LARGE))), SerializationError)
        transport.fault = None
        await publisher.publish(record("y"))
    assert values(transport.broker) == ["y"]


async def test_a_close_while_a_batch_is_encoded_ends_it_as_not_persisted() -> None:
    """Nothing of it was written, so nothing of it is in doubt."""
    transport = Watched(at_once=False)
    async with opened(transport, profile=PACKED) as publisher:
        task = asyncio.create_task(error_of(publisher.publish(record("x" * LARGE))))
        await asyncio.to_thread(transport.began.wait, 10)
        report = await publisher.aclose(0)
        transport.go_on.set()
        assert isinstance(await task, UnavailableError)
    assert len(report.unconfirmed) == 1
    assert values(transport.broker) == []
