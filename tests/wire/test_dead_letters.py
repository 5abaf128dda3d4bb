"""Dead letters over the wire: what is warned of, and a topic on a cluster of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from eventpub import CRITICAL, STANDARD, DeliveryProfile, KafkaConfig, Publisher, PublishError, Record
from eventpub.deadletter import DeadLetters, SpoolSink, TopicSink
from eventpub.testing import EmbeddedKafka
from support.readback import read_topic

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.wire

NOWHERE = "kafka://127.0.0.1:1"


@pytest.mark.parametrize(
    "profile, warned", [(CRITICAL, True), (CRITICAL.replace(dead_letter=False), False), (STANDARD, False)]
)
async def test_critical_events_without_dead_letters_are_one_warning(
    caplog: pytest.LogCaptureFixture, profile: DeliveryProfile, *, warned: bool
) -> None:
    """At the opening; who said that he wants none, or has no critical events, hears nothing."""
    publisher = Publisher(NOWHERE, profile=profile)
    await publisher.open()
    await publisher.aclose(0)
    assert caplog.text.count("will only be in the exception") == warned


async def test_dead_letters_are_no_reason_to_warn(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """Nor is a broker in memory, where nothing lasts anyway."""
    for target, letters in ((NOWHERE, DeadLetters(SpoolSink(tmp_path / "spool.db"))), ("memory://", None)):
        publisher = Publisher(target, dead_letters=letters)
        await publisher.open()
        await publisher.aclose(0)
    assert "will only be in the exception" not in caplog.text


async def test_another_cluster_keeps_them_while_the_first_is_away() -> None:
    """`TopicSink` takes a `KafkaConfig` of its own, and its publisher ends with the other."""
    with EmbeddedKafka() as kafka:
        kafka.create_topic("t.dlq")
        config = KafkaConfig(bootstrap_servers=kafka.bootstrap_servers)
        letters = DeadLetters(TopicSink(config=config))
        profile = CRITICAL.replace(delivery_timeout=0.5)
        async with Publisher(NOWHERE, profile=profile, dead_letters=letters) as publisher:
            with pytest.raises(PublishError) as caught:
                await publisher.publish(Record("t", b"v", b"k"))
        (kept,) = await asyncio.to_thread(read_topic, kafka.bootstrap_servers, "t.dlq")
    assert caught.value.dead_letter is not None
    assert caught.value.dead_letter.state == "written"
    assert (kept.key, kept.value) == (b"k", b"v")
