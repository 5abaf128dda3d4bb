"""No letter whose write had returned is lost to a power failure, and the simulator would notice one."""

from __future__ import annotations

import os
import random
import sys
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

import pytest

from eventpub.deadletter.spooling import database
from eventpub.deadletter.spooling.store import State, Store
from eventpub.exceptions import EventPubError
from support import power_loss
from support.kafka_node import ROOT
from support.power_loss import Call, Disk, power_losses
from tests.unit.deadletter.kit import intact

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

# A run in which letters are written in groups, resolved and purged, with the settings named on
# the command line in place of the usual ones. It says what has returned.
RUN = """
import asyncio, os, pathlib, sys
from eventpub.deadletter.spooling import database
from eventpub.deadletter.spool import SpoolSink
from eventpub.deadletter.spooling.store import Store
from tests.unit.deadletter.kit import resolution
from tests.unit.deadletter.letters import letter

path, *settings = sys.argv[1:]
database.SETTINGS = (*database.SETTINGS, *settings)

def say(what, one):
    os.write(2, f"{what} {one.id}\\n".encode())

async def keep(sink, one):
    assert await sink.write([one], asyncio.get_running_loop().time() + 30) == [None]
    say("written", one)

async def main():
    sink = SpoolSink(path)
    await sink.open()
    for turn in range(6):
        first, *others = group = [letter(bytes(turn * 1500)) for _ in range(turn % 3 + 2)]
        await asyncio.gather(*(keep(sink, one) for one in group))
        await sink.resolve([resolution(first)], asyncio.get_running_loop().time() + 30)
        say("resolved", first)
        if turn % 2:
            purge(others[0])
    await sink.aclose(asyncio.get_running_loop().time() + 30)

def purge(one):
    say("purging", one)
    store = Store(pathlib.Path(path))
    store.purge([one.id])
    store.close()
    say("purged", one)

asyncio.run(main())
"""


class Found(NamedTuple):
    """What was looked at, and what of it was not as promised."""

    losses: int
    faults: list[str]


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run where the program finds the kit; and what is looked at afterwards need not be durable."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(database, "SETTINGS", (*database.SETTINGS, "synchronous = off"))
    if reason := power_loss.missing():
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


def run(directory: Path, *settings: str) -> Sequence[Call]:
    """Let a spool be used in *directory*, and return what reached the disk."""
    spool = directory / "spool"
    spool.mkdir()
    return power_loss.watch([sys.executable, "-c", RUN, spool / "spool.db", *settings], directory / "log")


def look(calls: Sequence[Call], directory: Path, mixtures: int, *, enough: int = 1000) -> Found:
    """Fail the power at every operation, and see what the spool says; stop at *enough* faults."""
    seed = random.SystemRandom().randrange(2**40)
    faults: list[str] = []
    losses = 0
    for disk in power_losses(calls, directory / "spool", random.Random(seed), mixtures):
        losses += 1
        disk.restore(directory / "after")
        faults += [f"{fault} (seed {seed}, loss {losses})" for fault in faults_of(disk, directory / "after")]
        if len(faults) >= enough:
            break
    return Found(losses, faults)


def faults_of(disk: Disk, directory: Path) -> Iterator[str]:
    """Yield what *disk*, restored in *directory*, lacks of what had been said."""
    said = {what: {line.split()[1] for line in disk.said if line.startswith(f"{what} ")} for what in WORDS}
    path = directory / "spool.db"
    if not said["written"]:
        return
    try:
        with closing(Store(path)) as store:
            entries = {entry.letter.id: entry for entry in store.read(limit=1000)}
            damaged = store.quarantined()
    except EventPubError as error:
        yield f"cannot be read: {error}"
        return
    if damaged or not intact(path):
        yield "is broken"
    if lost := said["written"] - said["purging"] - entries.keys():
        yield f"lost {len(lost)} letters"
    if said["purged"] & entries.keys():
        yield "a purged letter is back"
    if [letter_id for letter_id in said["resolved"] & entries.keys() if entries[letter_id].state is State.OPEN]:
        yield "a verdict is lost"


WORDS = ("written", "resolved", "purging", "purged")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_power_may_fail_at_any_moment(tmp_path: Path) -> None:
    """Whatever had returned holds, and the file is whole, in every mixture of what reached the disk."""
    found = look(run(tmp_path), tmp_path, mixtures=4)
    assert found.losses > 1000
    assert found.faults == []


@pytest.mark.timeout(240)
@pytest.mark.parametrize("setting", ["synchronous = normal", "synchronous = off", "journal_mode = delete"])
def test_weaker_settings_are_caught(tmp_path: Path, setting: str) -> None:
    """Else the simulator would prove nothing: each of these loses something that had returned."""
    assert look(run(tmp_path, setting), tmp_path, mixtures=4, enough=1).faults != []
