"""``eventpub broker``: an embedded broker in a terminal, for development."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Annotated, NamedTuple

import anyio
from anyio.abc import SocketStream
from cyclopts import App, Parameter, validators

from eventpub.cli import output
from eventpub.cli.signals import interrupts
from eventpub.exceptions import UsageError
from eventpub.record import check_topic
from eventpub.testing import EmbeddedKafka

_EPILOGUE = """
It keeps its topics in memory and forgets them when it ends. It does not
deduplicate, so nothing about exactly-once can be shown with it, and it knows
no passwords, TLS, ACLs or size limits.

  eventpub broker                          # port 9092, the topic "events"
  eventpub broker -t tasks -t orders:6     # the second with six partitions
  eventpub broker --port 0 --json          # a free port, told to a program
"""

_LOOPBACK = "127.0.0.1"

app = App(name="broker", help_epilogue=_EPILOGUE)


class _Topic(NamedTuple):
    name: str
    partitions: int

    def __str__(self) -> str:
        return f"{self.name} ({self.partitions} partition{'' if self.partitions == 1 else 's'})"


@app.default
async def broker(
    *,
    port: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535))] = 9092,
    topic: Annotated[Sequence[str], Parameter(alias="-t", negative="")] = ("events",),
    json: bool = False,
) -> int:
    """Run a broker with Kafka's protocol on the loopback interface until Ctrl-C.

    Args:
        port: Where it listens; 0 is any free port.
        topic: A topic to create, as name or name:partitions. May be given several times.
        json: Say in one line of JSON where it listens.
    """
    topics = [_parsed(each) for each in topic]
    with EmbeddedKafka() as kafka, interrupts() as interrupted:
        for each in topics:
            kafka.create_topic(each.name, each.partitions)
        async with _listening(port, kafka.bootstrap_servers) as address:
            _say(address, topics, json=json)
            await interrupted.get()
    return 0


def _parsed(text: str) -> _Topic:
    name, colon, partitions = text.partition(":")
    check_topic(name)
    if colon and not partitions.isdecimal():
        raise UsageError(f"--topic {text}: {partitions!r} is no number of partitions; write name:partitions")
    return _Topic(name, int(partitions) if colon else 1)


def _say(address: str, topics: Sequence[_Topic], *, json: bool) -> None:
    if json:
        output.print_json({"bootstrap_servers": address, "topics": {each.name: each.partitions for each in topics}})
        return
    output.print_facts(
        (
            ("broker", f"{address}, in memory; Ctrl-C ends it"),
            ("topics", ", ".join(map(str, topics))),
            ("in a shell", f"export EVENTPUB_BOOTSTRAP_SERVERS={address}"),
            ("in Python", f'Publisher("kafka://{address}", source="/me")'),
        )
    )


@contextlib.asynccontextmanager
async def _listening(port: int, broker: str) -> AsyncIterator[str]:
    """Let *broker* be found on *port*; give the address."""
    if port == 0:
        yield broker
        return
    # librdkafka takes any free port and cannot be told which. So the chosen one is a door:
    # clients ask there who the brokers are, and go on to the real port by themselves.
    try:
        door = await anyio.create_tcp_listener(local_host=_LOOPBACK, local_port=port)
    except OSError as error:
        raise UsageError(f"port {port} cannot be used ({error.strerror}); --port 0 takes a free one") from error
    async with door, anyio.create_task_group() as clients:
        clients.start_soon(door.serve, partial(_let_in, broker))
        yield f"{_LOOPBACK}:{port}"
        clients.cancel_scope.cancel()


async def _let_in(broker: str, client: SocketStream) -> None:
    """Pass on to *broker* what *client* says, and back what it answers, until one of them hangs up."""
    host, _, port = broker.partition(":")
    async with client, await anyio.connect_tcp(host, int(port)) as there, anyio.create_task_group() as ways:
        for one, other in ((client, there), (there, client)):
            ways.start_soon(_pass_on, one, other, ways.cancel_scope)


async def _pass_on(one: SocketStream, other: SocketStream, hung_up: anyio.CancelScope) -> None:
    with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        async for data in one:
            await other.send(data)
    hung_up.cancel()
