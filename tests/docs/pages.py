"""Runs a page of the documentation: its Python blocks in order, in one namespace and in virtual time.

A ``text`` block is what the Python block before it prints. Durations may differ, and so
may what stands where the page has ``...``. ``await`` at the top level works as it does in
``python -m asyncio``, and a publisher that a page leaves open is closed at its end.
"""

from __future__ import annotations

import ast
import contextlib
import doctest
import inspect
import io
import re
from importlib.util import find_spec
from pathlib import Path
from types import CodeType
from typing import Any
from unittest import SkipTest

from sybil import Example, Sybil
from sybil.evaluators.python import pad
from sybil.parsers.myst import CodeBlockParser, SkipParser

from eventpub import Publisher
from support import virtual_time
from support.kafka_node import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_DURATION = re.compile(r"\d+\.\d+ (ms|s)\b")
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def run(page: Path) -> int:
    """Run *page* from top to bottom; return how many Python blocks it had."""
    blocks: int = namespace_of(page)["_blocks"]
    return blocks


def namespace_of(page: Path) -> dict[str, Any]:
    """Run *page* from top to bottom; return what it has defined."""
    sybil = Sybil(parsers=[CodeBlockParser("python", _run_block), CodeBlockParser("text", _compare), SkipParser()])
    document = sybil.parse(page)
    with virtual_time.runner() as runner:
        document.namespace.update(_runner=runner, _printed=None, _blocks=0, find_spec=find_spec)
        try:
            for example in document.examples():
                with contextlib.suppress(SkipTest):  # the page says of this block what it needs
                    example.evaluate()
        finally:
            for publisher in [value for value in document.namespace.values() if isinstance(value, Publisher)]:
                runner.run(publisher.aclose(0))
    return document.namespace


def _run_block(example: Example) -> None:
    namespace = example.namespace
    source = pad(example.parsed, example.line + example.parsed.line_offset)
    code = compile(source, example.path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        if "asyncio.run(" in source:  # a script, and no place for a loop that runs already
            exec(code, namespace)
        else:
            namespace["_runner"].run(_evaluate(code, namespace))
    namespace["_printed"] = printed.getvalue()
    namespace["_blocks"] += 1


async def _evaluate(code: CodeType, namespace: dict[str, Any]) -> None:
    result = eval(code, namespace)
    if inspect.iscoroutine(result):
        await result


def _compare(example: Example) -> None:
    said, shown = example.namespace["_printed"], str(example.parsed)
    assert said is not None, f"{example.path}:{example.line}: no Python block before it"
    if not doctest.OutputChecker().check_output(_without_durations(shown), _without_durations(said), _FLAGS):
        raise AssertionError(f"{example.path}:{example.line}: the page shows\n{shown}\nand the code prints\n{said}")


def _without_durations(text: str) -> str:
    return _DURATION.sub(r"TIME \1", text)
