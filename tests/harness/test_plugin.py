"""The fixtures that eventpub gives to pytest, in test suites as users have them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from support.kafka_node import ROOT

STRICT = "[pytest]\nasyncio_mode = strict\nasyncio_default_fixture_loop_scope = function\n"
AUTO = STRICT.replace("strict", "auto")
ANYIO = "[pytest]\n"
WARNINGS = "filterwarnings = error\n"

ON_ASYNCIO = """
    import pytest

    @pytest.fixture
    def anyio_backend():
        return "asyncio"
"""
PUBLISHES = """
    import pytest
    from eventpub import PublisherState, Record
    from eventpub.testing import assert_published

    seen = []

    {mark}
    async def test_a_record(memory_broker, memory_publisher):
        assert not any(publisher.state is PublisherState.OPEN for publisher in seen)
        seen.append(memory_publisher)
        record = Record("t", b"{{}}", b"k")
        await memory_publisher.publish(record)
        assert_published(memory_broker, record)

    {mark}
    async def test_another(memory_broker, memory_publisher):
        await test_a_record(memory_broker, memory_publisher)
"""
NEXT = """
    def test_they_are_closed():
        assert [publisher.state for publisher in seen] == [PublisherState.CLOSED] * 2
"""

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run test files in a process of their own, with these plugins and no others, by the names of their entry points."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run_(ini: str, *plugins: str, conftest: str = "", **files: str) -> pytest.RunResult:
        pytester.makeini(ini + WARNINGS)
        pytester.makeconftest(conftest)
        pytester.makepyfile(**files)
        named = [f"-p{name}" for name in ("eventpub", *(plugins or ("asyncio", "anyio")))]
        return pytester.runpytest_subprocess("-rs", *named, timeout=50)

    return run_


@pytest.mark.parametrize(
    "ini, mark, plugins",
    [
        (AUTO, "", ("asyncio",)),
        (STRICT, "@pytest.mark.asyncio", ("asyncio", "anyio")),
        (STRICT, "@pytest.mark.anyio", ("asyncio", "anyio")),
        (ANYIO, "@pytest.mark.anyio", ("anyio",)),
    ],
    ids=["asyncio auto", "asyncio strict", "anyio beside asyncio", "anyio alone"],
)
def test_a_publisher_is_open_in_a_test_and_closed_after_it(
    run: Run, ini: str, mark: str, plugins: tuple[str, ...]
) -> None:
    """With either plugin, without a warning; each test has a publisher and a broker of its own."""
    files = {"test_it": PUBLISHES.format(mark=mark) + NEXT}
    run(ini, *plugins, conftest=ON_ASYNCIO, **files).assert_outcomes(passed=3)


def test_a_publisher_is_open_on_the_loop_of_its_test(run: Run) -> None:
    """Whatever the scope of that loop, by a marker or by the default."""
    marks = {scope: f"@pytest.mark.asyncio(loop_scope={scope!r})" for scope in ("module", "package", "session")}
    files = {f"test_{scope}": PUBLISHES.format(mark=mark) for scope, mark in marks.items()}
    default = AUTO + "asyncio_default_test_loop_scope = module\n"
    run(default, **files, test_default=PUBLISHES.format(mark="")).assert_outcomes(passed=8)


def test_settings_and_broker_are_the_users_to_define(run: Run) -> None:
    """Fixtures of the same names in a conftest, which may ask for ours."""
    conftest = """
        import pytest
        from eventpub import CRITICAL

        @pytest.fixture
        def memory_broker(memory_broker):
            memory_broker.create_topic("orders", 3)
            return memory_broker

        @pytest.fixture
        def memory_publisher_settings():
            return {"source": "/shop", "profile": CRITICAL.replace(delivery_timeout=0.1)}
    """
    test = """
        import pytest
        from eventpub import Event, UnavailableError
        from eventpub.testing import published

        class OrderPlaced(Event, type="order.placed", topic="orders"):
            number: int

        async def test_it(memory_broker, memory_publisher):
            await memory_publisher.publish(OrderPlaced(number=1))
            (record,) = memory_broker.records("orders")
            assert dict(record.headers)["ce_source"] == b"/shop"
            assert memory_broker.count("orders") == 3
            memory_broker.down()
            with pytest.raises(UnavailableError):
                await memory_publisher.publish(OrderPlaced(number=2))
    """
    run(AUTO, conftest=conftest, test_it=test).assert_outcomes(passed=1)


def test_a_publisher_that_cannot_be_had_says_why(run: Run) -> None:
    """No loop, trio, and two plugins that each want the test: a sentence, and no trace of ours."""
    files = {
        "test_plain": "def test_it(memory_publisher): ...",
        "test_trio": ON_ASYNCIO.replace("asyncio", "trio")
        + """
    @pytest.mark.anyio
    async def test_it(memory_publisher): ...
        """,
    }
    result = run(STRICT, **files)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*test_it has none: let it be an `async def`*Publisher(memory_broker, source=...)*"])
    result.stdout.fnmatch_lines(["*eventpub is asyncio only, and this test runs on trio: *nurseries*"])
    result.stdout.no_fnmatch_line("*_eventpub_pytest.py*")


def test_two_plugins_that_want_the_same_test_are_told(run: Run) -> None:
    """pytest-asyncio's auto mode takes tests that are marked for anyio, and leaves it their fixtures."""
    test = PUBLISHES.format(mark="@pytest.mark.anyio")
    result = run(AUTO, conftest=ON_ASYNCIO, test_it=test)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*set asyncio_mode = strict*"])


EMBEDDED = """
    def test_it(embedded_kafka):
        assert embedded_kafka.url.startswith("kafka://127.0.0.1:")
"""


@pytest.mark.wire
def test_the_embedded_broker_is_there_or_says_what_is_missing(run: Run) -> None:
    """A skip with the extra to install."""
    run(STRICT, test_it=EMBEDDED).assert_outcomes(passed=1)
    absent = "import sys; sys.modules['confluent_kafka'] = None"
    result = run(STRICT, conftest=absent, test_it=EMBEDDED)
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*EmbeddedKafka needs confluent-kafka: install eventpub[[]broker]*"])


def imported(code: str, *names: str) -> set[str]:
    """Return which of the packages *names* are imported after *code* in a new process."""
    asked = f"{code}\nimport sys; print(*(set(sys.modules) & {set(names)}))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=30, check=True)
    return set(done.stdout.split())


def test_a_start_of_pytest_imports_nothing_of_ours() -> None:
    """Suites that do not use the fixtures do not pay for them; those that do need no client of Kafka's."""
    heavy = ("aiokafka", "confluent_kafka", "hypothesis", "anyio", "pytest_asyncio")
    assert imported("import _eventpub_pytest", "eventpub", "pydantic", *heavy) == set()
    assert imported("from eventpub.testing import MemoryBroker, assert_published", "eventpub", *heavy) <= {
        "eventpub",
        "anyio",
    }


def test_the_tests_on_the_page_pass(run: Run) -> None:
    """All of docs/guides/testing.md as one test file beside its conftest.py, in virtual time."""
    page = (ROOT / "docs" / "guides" / "testing.md").read_text()
    shown = re.findall(r"```python\n(.*?)```(\n\n```text)?", page, re.DOTALL)
    blocks = [block for block, prints in shown if not prints]  # what prints is run by tests/docs
    conftest = "".join(block for block in blocks if block.startswith("# conftest.py"))
    tests = "".join(block for block in blocks if block not in conftest)
    run(STRICT, conftest=conftest, test_page=tests).assert_outcomes(passed=page.count("async def test_"))
