"""The partition of a key is the one that Java's producer chooses."""

from __future__ import annotations

import random
import struct

import pytest
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.partitioner import murmur2 as aiokafka_murmur2
from hypothesis import given, settings
from hypothesis import strategies as st

from eventpub.partitioner import murmur2, murmur2_of_many, partition_for, partitions_for

# Read off Java's producer: key, hash, partition of 3, of 6 and of 12.
VECTORS = [
    (b"user-1", 0x53B136CC, 2, 2, 8),
    (b"user-2", 0xECA12BE0, 2, 2, 8),
    (b"order-1001", 0x11BBDAA6, 0, 0, 6),
    (b"task-42", 0x7AC58D48, 1, 4, 4),
    (b"a", 0xA2D0B27C, 1, 4, 4),
    (b"", 0x106E08D9, 0, 3, 9),
]

# Kafka's own UtilsTest.testMurmur2, where hashes are signed.
JAVA_VECTORS = [
    (b"21", -973932308),
    (b"foobar", -790332482),
    (b"a-little-bit-long-string", -985981536),
    (b"a-little-bit-longer-string", -1486304829),
    (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    (b"abc", 479470107),
]


@pytest.mark.parametrize("key, hashed, of_3, of_6, of_12", VECTORS)
def test_equals_java_in_hash_and_partition(key: bytes, hashed: int, of_3: int, of_6: int, of_12: int) -> None:
    """The hash and the partition are those seen from Java."""
    assert murmur2(key) == hashed
    assert [partition_for(key, count) for count in (3, 6, 12)] == [of_3, of_6, of_12]


@pytest.mark.parametrize("key, signed", JAVA_VECTORS)
def test_equals_the_vectors_of_kafkas_own_test(key: bytes, signed: int) -> None:
    """As a signed number, the hash is what Kafka's own unit test expects."""
    assert struct.unpack("<i", struct.pack("<I", murmur2(key)))[0] == signed


@pytest.mark.parametrize("length", [*range(65), 255, 256, 257, 260, 1000])
@settings(deadline=None)
@given(data=st.data())
def test_equals_aiokafka_at_every_length(length: int, data: st.DataObject) -> None:
    """The byte-by-byte implementation of aiokafka gives the same hash and partition, also past the table of formats."""
    key = data.draw(st.binary(min_size=length, max_size=length))
    assert murmur2(key) == aiokafka_murmur2(key) & 0xFFFFFFFF
    everywhere = list(range(12))
    assert partition_for(key, 12) == DefaultPartitioner()(key, everywhere, everywhere)


@settings(deadline=None)
@given(key=st.binary(max_size=64), partitions=st.integers(1, 10_000))
def test_a_partition_always_exists(key: bytes, partitions: int) -> None:
    """Whatever the sign of the hash in Java, the partition is one of the topic's."""
    assert 0 <= partition_for(key, partitions) < partitions


@settings(deadline=None)
@given(keys=st.lists(st.binary(max_size=12) | st.binary(min_size=36, max_size=36) | st.just(b"k" * 300), max_size=40))
def test_many_keys_go_where_each_would_go(keys: list[bytes]) -> None:
    """Hashed side by side, keys of any mixture of lengths have the partitions that they have one by one."""
    assert partitions_for(keys, 12) == [partition_for(key, 12) for key in keys]


@pytest.mark.parametrize("length", [*range(41), 255, 256])
@pytest.mark.parametrize("count", [1, 2, 5, 101])
def test_hashes_side_by_side_are_those_one_by_one(length: int, count: int) -> None:
    """No lane carries into the next, whatever their number and the length of the keys."""
    keys = [random.Random(length * 1000 + number).randbytes(length) for number in range(count - 1)]
    keys.append(b"\xff" * length)
    assert list(murmur2_of_many(keys)) == [murmur2(key) for key in keys]
