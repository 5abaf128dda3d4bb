"""Whose time a sample of the benchmark's profile is: no broker is needed for this."""

from __future__ import annotations

import gc
import importlib
import inspect
import signal
from types import CodeType, FrameType, SimpleNamespace
from typing import Any

import pytest

from benchmarks import breakdown
from benchmarks.breakdown import PLACES, RESUMED, STAGES, place_of, stage_of


def run_in(module: str, source: str, **names: Any) -> dict[str, Any]:
    """Run *source* as if it stood in *module*, and return what it left."""
    namespace = {"__name__": module, **names}
    exec(compile(source, module, "exec"), namespace)
    return namespace


def here() -> FrameType:
    """Return the caller's frame."""
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back


@pytest.mark.parametrize("name", [*PLACES, *RESUMED])
def test_every_place_is_there(name: str) -> None:
    """A module or function that was renamed has its new name in the table."""
    module, _, function = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in function.replace(".<locals>", "").split(".") if function else ():
        codes = getattr(getattr(found, "__code__", None), "co_consts", ())
        inner = [code for code in codes if isinstance(code, CodeType) and code.co_name == part]
        found = inner[0] if inner else getattr(found, part)
    assert (PLACES | RESUMED)[name] in STAGES


def test_a_function_goes_before_its_module_and_a_module_before_its_package() -> None:
    """The most exact entry of the table decides."""
    assert stage_of("eventpub._rules.deadlines:Deadlines.discard") == "settle"
    assert stage_of("eventpub._rules.deadlines:Deadlines.add") == "admit"
    assert stage_of("asyncio.selector_events:_SelectorSocketTransport.write") == "send"
    assert stage_of("asyncio.events:Handle._run") == "wake"
    assert stage_of("json.encoder:JSONEncoder.encode") is None


def test_what_a_stage_calls_elsewhere_is_its_own() -> None:
    """The innermost frame that the table knows has the time of those it called."""
    inner = run_in("json.encoder", "def encode(): return here()", here=here)["encode"]
    outer = run_in("eventpub.serializer", "def serialize(): return encode()", encode=inner)["serialize"]
    place = place_of(outer())
    assert (place.stage, place.function) == ("serialise", "json.encoder:encode")


def test_a_new_module_of_eventpub_shows_up_as_elsewhere() -> None:
    """It is not counted with whoever calls it."""
    inner = run_in("eventpub._novelty", "def work(): return here()", here=here)["work"]
    outer = run_in("eventpub.serializer", "def serialize(): return work()", work=inner)["serialize"]
    assert place_of(outer()).stage == "elsewhere"


def test_the_time_before_a_first_instruction_is_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter notices a signal there that came while the caller ran."""
    inner = run_in("eventpub.partitioner", "def murmur2(): return here()", here=here)["murmur2"]
    outer = run_in("eventpub.serializer", "def serialize(): return murmur2()", murmur2=inner)["serialize"]
    frame = outer()
    assert place_of(frame).stage == "hash"
    monkeypatch.setattr(breakdown, "_has_only_begun", lambda at: at is frame)
    assert place_of(frame).stage == "serialise"


def test_only_a_frame_at_its_first_instruction_has_only_begun() -> None:
    """A generator that was not asked yet stands at its beginning, one that waits does not."""

    def generate() -> Any:
        yield here()

    frame = next(generate())
    assert not breakdown._has_only_begun(frame)


def test_a_collection_counts_for_itself() -> None:
    """A signal that came while the collector ran is not its caller's."""
    frame: Any = SimpleNamespace(f_code=breakdown._note_collection.__code__)
    assert place_of(frame).stage == "collect"


def test_a_profile_counts_the_signals_between_its_ends() -> None:
    """Shares are those of all samples, and nothing is left behind."""
    before = signal.getsignal(signal.SIGPROF), list(gc.callbacks)
    names = {"strike": signal.raise_signal, "number": signal.SIGPROF}
    murmur2 = run_in("eventpub.partitioner", "def murmur2(): strike(number)", **names)["murmur2"]
    serialize = run_in("eventpub.serializer", "def serialize(): strike(number)", **names)["serialize"]
    with breakdown.Profile() as profile:
        signal.setitimer(signal.ITIMER_PROF, 0)  # no other signals than these
        profile.places.clear()
        for work in (murmur2, murmur2, murmur2, serialize):
            work()
    assert {stage: share for stage, share in profile.stages().items() if share} == {"hash": 0.75, "serialise": 0.25}
    assert [(place.function, share) for place, share in profile.functions("hash")] == [
        ("eventpub.partitioner:murmur2", 0.75)
    ]
    assert (signal.getsignal(signal.SIGPROF), list(gc.callbacks)) == before
