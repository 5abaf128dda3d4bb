"""The ledger of a process that is killed under load, compared with what Apache Kafka kept."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from eventpub.testing import Ledger, Word, check_ledger
from eventpub.testing.ledger import Intent, Said
from support.kafka_node import ROOT
from support.readback import read_topic

if TYPE_CHECKING:
    from support.kafka_node import ApacheKafka
    from tests.fix_kafka import MakeTopic

WORKER = """
import asyncio, itertools, sys
from eventpub import Publisher, Record
from eventpub.testing import Ledger, Recorder

async def main(target, topic):
    ledger = Ledger(open(1, "wb", buffering=0))
    async with Publisher(target, source="/worker", hooks=[ledger]) as publisher:
        recorder = Recorder(publisher, ledger)
        for number in itertools.count():
            record = Record(topic, b"%d" % number, b"%d" % (number % 7), [("ce_id", b"%d" % number)])
            recorder.publish_nowait(record)
            await asyncio.sleep(0.001)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.kafka
def test_a_worker_that_is_killed_leaves_a_ledger_that_is_true(kafka_node: ApacheKafka, kafka_topic: MakeTopic) -> None:
    """What it had been told is in the log once and in order; what was open may be."""
    topic = kafka_topic(3)
    command = [sys.executable, "-c", WORKER, kafka_node.url, topic]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as worker:
        assert worker.stdout is not None
        lines = []
        acknowledged = 0
        patience = time.monotonic() + 60
        while acknowledged < 300 and time.monotonic() < patience:
            lines.append(worker.stdout.readline())
            acknowledged += b'"voice": "call"' in lines[-1]
        worker.send_signal(signal.SIGKILL)
        lines += worker.stdout.readlines()
    ledger = Ledger.load(lines)
    verdict = check_ledger(ledger, {topic: read_topic(kafka_node.bootstrap_servers, topic)}, killed=True)
    assert verdict.passed, str(verdict)
    assert verdict.words[Word.PERSISTED] >= 300
    assert sum(isinstance(entry, Intent) for entry in ledger.entries) == verdict.events
    assert any(isinstance(entry, Said) for entry in ledger.entries)
