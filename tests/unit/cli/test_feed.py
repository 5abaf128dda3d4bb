"""Lines as they come: whole ones only, numbered, and never held back."""

from __future__ import annotations

import asyncio
import io
import os
from pathlib import Path

import pytest

from eventpub.cli import feed


def write(path: Path, data: bytes) -> Path:
    """Make a file."""
    path.write_bytes(data)
    return path


async def lines_of(data: bytes, path: Path) -> list[tuple[int, bytes]]:
    """Return what is read from a file with *data*."""
    write(path, data)
    with feed.opened(path) as stream:
        assert feed.size(stream) == len(data)
        return [line async for line in feed.lines(stream)]


@pytest.mark.parametrize(
    "data, expected",
    [
        (b"", []),
        (b"a\nb\n", [(1, b"a"), (2, b"b")]),
        (b"a\n\n  \nb", [(1, b"a"), (4, b"b")]),
        (b"a\r\nb\r\n", [(1, b"a\r"), (2, b"b\r")]),
    ],
)
async def test_lines_are_numbered_and_empty_ones_left_out(
    tmp_path: Path, data: bytes, expected: list[tuple[int, bytes]]
) -> None:
    """The last line counts also without an end."""
    assert await lines_of(data, tmp_path / "lines") == expected


async def test_lines_longer_than_a_chunk_are_put_together(tmp_path: Path) -> None:
    """Whatever the chunks cut."""
    long = b"x" * 200_000
    assert await lines_of(long + b"\n" + long + b"y\n", tmp_path / "lines") == [(1, long), (2, long + b"y")]


async def test_a_line_of_a_pipe_comes_before_the_pipe_ends() -> None:
    """Whoever types sees each line answered."""
    reading, writing = os.pipe()
    with io.FileIO(reading) as stream:
        assert feed.size(stream) is None
        found = feed.lines(stream)
        os.write(writing, b"one\ntw")
        assert await asyncio.wait_for(anext(found), 10) == (1, b"one")
        os.write(writing, b"o\n")
        assert await asyncio.wait_for(anext(found), 10) == (2, b"two")
        os.close(writing)
        assert [line async for line in found] == []


async def test_a_stream_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    """The error reaches whoever reads the lines."""
    descriptor = os.open(tmp_path, os.O_RDONLY)
    with io.FileIO(os.open(os.devnull, os.O_RDONLY)) as stream:
        os.dup2(descriptor, stream.fileno())  # a directory in a file's place
        os.close(descriptor)
        with pytest.raises(IsADirectoryError):
            _ = [line async for line in feed.lines(stream)]
