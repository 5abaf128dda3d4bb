"""Where a command connects to."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventpub import UsageError
from eventpub.cli import connection

MODULE = """
from eventpub import Publisher
publisher = Publisher("kafka://kafka-9:9092", source="/app", client_id="mine")
memory = Publisher("memory://", source="/app")
number = 5
def make():
    return publisher
"""


@pytest.fixture(autouse=True)
def application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a module ``shop_app`` into the working directory."""
    (tmp_path / "shop_app.py").write_text(MODULE)
    monkeypatch.delitem(__import__("sys").modules, "shop_app", raising=False)


def test_the_environment_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    """And who the events come from."""
    monkeypatch.setenv("EVENTPUB_BOOTSTRAP_SERVERS", "kafka-1")
    monkeypatch.setenv("EVENTPUB_SOURCE", "/env")
    assert connection.cluster(None).bootstrap_servers == "kafka-1:9092"
    assert connection.connect(None).source == "/env"
    assert connection.connect(None, source="/said").source == "/said"


@pytest.mark.parametrize("name", ["publisher", "make"])
def test_an_application_says_where(name: str) -> None:
    """By a publisher, or a function that makes one, in a module of the working directory."""
    assert connection.cluster(f"shop_app:{name}").bootstrap_servers == "kafka-9:9092"
    assert repr(connection.publisher(f"shop_app:{name}")) == "<Publisher new>"


@pytest.mark.parametrize(
    "app", ["shop_app", "shop_app:other", "shop_app:number", "no_such_app:publisher", ":publisher"]
)
def test_what_leads_to_no_publisher_is_wrong_usage(app: str) -> None:
    """The message says what was found, and how to write it."""
    with pytest.raises(UsageError, match="write module:name"):
        connection.connect(app)


def test_dead_letters_need_a_cluster() -> None:
    """A publisher on ``memory://`` has none."""
    with pytest.raises(UsageError, match="no Kafka cluster"):
        connection.cluster("shop_app:memory")
