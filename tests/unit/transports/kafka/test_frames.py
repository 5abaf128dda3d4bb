"""Answers are cut out of what a broker sends, however the network cut it."""

from __future__ import annotations

import asyncio
import struct

import pytest

from eventpub.transports.kafka.errors import NotKafkaError
from eventpub.transports.kafka.wire.frames import Frames


def framed(*answers: bytes) -> bytes:
    """Return *answers* as they are sent, each behind its size."""
    return b"".join(struct.pack(">i", len(answer)) + answer for answer in answers)


class Stream(asyncio.StreamReaderProtocol):
    """Aiokafka's part, which notes what it hears."""

    def __init__(self) -> None:
        super().__init__(asyncio.StreamReader())
        self.heard: list[str] = []

    def pause_writing(self) -> None:
        """Note it."""
        self.heard.append("pause")

    def resume_writing(self) -> None:
        """Note it."""
        self.heard.append("resume")

    def eof_received(self) -> bool:
        """Note it."""
        self.heard.append("eof")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Note it."""
        self.heard.append(f"lost {exc}")


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
async def test_answers_come_whole_and_in_order(size: int) -> None:
    """Byte by byte, several in one piece, and a piece that ends in the middle of a size."""
    taken: list[bytes] = []
    frames = Frames(Stream(), taken.append)
    answers = [b"abcd", b"efghi" * 40, b"jklm"]
    sent = framed(*answers)
    for at in range(0, len(sent), size):
        frames.data_received(sent[at : at + size])
    assert taken == answers
    assert not frames.ended.done()


async def test_an_answer_is_taken_with_its_last_byte() -> None:
    """Not a byte sooner, and not a turn of the loop later."""
    taken: list[bytes] = []
    frames = Frames(Stream(), taken.append)
    sent = framed(b"abcd")
    frames.data_received(sent[:-1])
    assert taken == []
    frames.data_received(sent[-1:])
    assert taken == [b"abcd"]


@pytest.mark.parametrize("size", [-1, 0, 3, 64 * 1024 * 1024 + 1, 0x48545450], ids=["-1", "0", "3", "64 MiB", "HTTP"])
async def test_a_size_that_no_answer_has_ends_the_reading(size: int) -> None:
    """It says so at once, without waiting for as many bytes."""
    taken: list[bytes] = []
    frames = Frames(Stream(), taken.append)
    frames.data_received(struct.pack(">i", size) + framed(b"abcd"))
    assert isinstance(frames.ended.exception(), NotKafkaError)
    assert taken == []


async def test_what_the_taker_raises_ends_the_reading() -> None:
    """What comes behind an answer that could not be read is not handed over."""
    taken: list[bytes] = []

    def take(answer: bytes) -> None:
        taken.append(answer)
        raise NotKafkaError("unreadable")

    frames = Frames(Stream(), take)
    frames.data_received(framed(b"abcd", b"efgh"))
    frames.data_received(framed(b"ijkl"))
    assert taken == [b"abcd"]
    assert isinstance(frames.ended.exception(), NotKafkaError)


async def test_nothing_is_handed_over_after_a_close() -> None:
    """A close cancels the reading, perhaps in the middle of it."""
    taken: list[bytes] = []

    def take(answer: bytes) -> None:
        taken.append(answer)
        frames.ended.cancel()

    frames = Frames(Stream(), take)
    frames.data_received(framed(b"abcd", b"efgh"))
    assert taken == [b"abcd"]


async def test_the_end_of_the_connection_is_told_with_its_reason() -> None:
    """To whoever reads, and to aiokafka's stream, which also hears when to write no more."""
    stream = Stream()
    frames = Frames(stream, lambda _: None)
    frames.pause_writing()
    frames.resume_writing()
    assert frames.eof_received() is True
    assert isinstance(frames.ended.exception(), asyncio.IncompleteReadError)
    frames.connection_lost(None)
    assert stream.heard == ["pause", "resume", "eof", "lost None"]

    reset = ConnectionResetError("by peer")
    frames = Frames(stream, lambda _: None)
    frames.connection_lost(reset)
    assert frames.ended.exception() is reset
