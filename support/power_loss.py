"""What could lie on the disk if the power had failed: at each disk operation of a program, in every mixture.

A program is run under strace. What it did to the files of one directory is replayed up to each of
its operations, and there the power fails: each write, truncation, new name and removal that no sync
has covered was kept, was lost, or (a write) was cut in the middle, each on its own. What the program
had said on stderr by then must hold for every such disk.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence

_CALLS = "openat,link,linkat,pwrite64,ftruncate,fsync,fdatasync,unlink,write"
_LONGEST_WRITE = 9000
_LINE = re.compile(r"(\d+) +(.*)")
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>(.*)")
_CALL = re.compile(r"(\w+)\((.*)\) += (?!-1 )")
_TEXT = re.compile(r'["<]((?:\\x[0-9a-f]{2})*)[">](?!\.\.\.)')
_NUMBER = re.compile(r", (\d+)")

Fate = Literal["kept", "lost", "cut"]


class Call(NamedTuple):
    """One system call that succeeded: its name, its texts (paths and data), and its numbers."""

    name: str
    texts: list[bytes]
    numbers: list[int]
    words: str


class Disk(NamedTuple):
    """What a power loss left: the files by name, and the lines that had been said before it."""

    files: dict[str, bytes]
    said: list[str]

    def restore(self, directory: Path) -> None:
        """Put the files where a program can look at them."""
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        for name, content in self.files.items():
            (directory / name).write_bytes(content)


@dataclass
class _File:
    """Content that a sync has covered, and the writes (offset, data) and truncations (size, None) since."""

    durable: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def content(self, fates: Sequence[Fate]) -> bytes:
        """Return what is there if the pending operations met *fates*."""
        content = bytearray(self.durable)
        for (position, data), fate in zip(self.pending, fates, strict=True):
            if fate != "lost":
                _apply(content, position, data if fate == "kept" or data is None else data[: len(data) // 2])
        return bytes(content)

    def sync(self) -> None:
        """Cover what is pending."""
        self.durable, self.pending = self.content(["kept"] * len(self.pending)), []


def _apply(content: bytearray, position: int, data: bytes | None) -> None:
    content.extend(bytes(max(0, position - len(content))))
    if data is None:
        del content[position:]
    else:
        content[position : position + len(data)] = data


def missing() -> str | None:
    """Return why no program can be watched here, ``None`` if one can."""
    if shutil.which("strace") is None:
        return "there is no strace here"
    tried = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"strace may not watch a program here: {tried.stderr.strip()}"


def watch(command: Sequence[str | Path], log: Path) -> list[Call]:
    """Run *command* and return what it asked of the system, in order."""
    strace = ["strace", "-f", "-y", "-xx", "-s", str(_LONGEST_WRITE), "-e", f"trace={_CALLS}", "-o", str(log)]
    subprocess.run([*strace, *map(str, command)], check=True, timeout=60, capture_output=True)
    return [call for line in _whole(log.read_text().splitlines()) if (call := _parsed(line))]


def _whole(lines: Sequence[str]) -> Iterator[str]:
    """Yield the calls; one that others interrupted counts from when it ended."""
    begun: dict[str, str] = {}
    for line in lines:
        pid, call = _LINE.fullmatch(line).groups()  # type: ignore[union-attr]  # every line has a pid
        if call.endswith("<unfinished ...>"):
            begun[pid] = call.removesuffix("<unfinished ...>").rstrip()
        elif resumed := _RESUMED.match(call):
            yield begun.pop(pid) + resumed[1]
        else:
            yield call


def _parsed(line: str) -> Call | None:
    found = _CALL.match(line)
    if found is None:  # a failed call, a signal, an exit
        return None
    name, arguments = found.groups()
    texts = [bytes.fromhex(text.replace("\\x", "")) for text in _TEXT.findall(arguments)]
    return Call(name, texts, [int(number) for number in _NUMBER.findall(arguments)], arguments)


class _World:
    """A directory as its programs see it, and how much of it is durable."""

    def __init__(self, directory: Path) -> None:
        self._directory = bytes(directory)
        self._names: dict[bytes, _File] = {}
        self._durable_names: dict[bytes, _File] = {}
        self._pending_names: list[tuple[bytes, _File | None]] = []
        self.said: list[str] = []

    def happens(self, call: Call) -> bool:
        """Let *call* happen; say whether it changed anything here."""
        path = call.texts[-1] if call.name in {"openat", "link", "linkat"} else call.texts[0]
        if call.name == "write":
            if call.words.startswith("2<"):
                self.said += call.texts[1].decode().splitlines()
            return False
        if path == self._directory and call.name in {"fsync", "fdatasync"}:
            self._sync_names()
            return True
        if path.rpartition(b"/")[0] != self._directory:
            return False
        return self._changes(call, path)

    def _changes(self, call: Call, path: bytes) -> bool:
        match call.name:
            case "openat":
                if path in self._names or "O_CREAT" not in call.words:
                    return False
                self._name(path, _File())
            case "link" | "linkat":
                self._name(path, self._names[call.texts[-2] if call.name == "link" else call.texts[-3]])
            case "unlink":
                self._name(path, None)
            case "pwrite64":
                self._names[path].pending.append((call.numbers[-1], call.texts[1]))
            case "ftruncate":
                self._names[path].pending.append((call.numbers[-1], None))
            case _:
                self._names[path].sync()
        return True

    def _name(self, path: bytes, file: _File | None) -> None:
        self._pending_names.append((path, file))
        _set(self._names, path, file)

    def _sync_names(self) -> None:
        for path, file in self._pending_names:
            _set(self._durable_names, path, file)
        self._pending_names.clear()

    def fails(self, fates: Sequence[Fate], chance: random.Random) -> Disk:
        """Return the disk after a power loss now, where what is pending met one of *fates* each."""
        names = self._durable_names.copy()
        for path, file in self._pending_names:
            if chance.choice(fates) != "lost":
                _set(names, path, file)
        return Disk(
            {
                path.rpartition(b"/")[2].decode(): file.content(chance.choices(fates, k=len(file.pending)))
                for path, file in names.items()
            },
            self.said.copy(),
        )


def _set(names: dict[bytes, _File], path: bytes, file: _File | None) -> None:
    if file is None:
        names.pop(path, None)
    else:
        names[path] = file


def power_losses(calls: Sequence[Call], directory: Path, chance: random.Random, mixtures: int) -> Iterator[Disk]:
    """Yield the disks after a power loss at each of *calls*: all kept, all lost, and *mixtures* at random."""
    world = _World(directory)
    for call in calls:
        if world.happens(call):
            yield world.fails(["kept"], chance)
            yield world.fails(["lost"], chance)
            for _ in range(mixtures):
                yield world.fails(["kept", "lost", "cut"], chance)
