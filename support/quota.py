"""Client quotas of Apache Kafka, which confluent-kafka's admin client cannot set: AlterClientQuotas (API 49) by hand."""

from __future__ import annotations

import asyncio
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_ALTER_CLIENT_QUOTAS = 49
_IN_FORCE_AFTER = 0.5  # seconds until every part of the broker has heard of it


@asynccontextmanager
async def limited(bootstrap_servers: str, client_id: str, bytes_per_second: float) -> AsyncIterator[None]:
    """Let a client id write no more than that, on the first of *bootstrap_servers*."""
    await _alter(bootstrap_servers, client_id, bytes_per_second, remove=False)
    await asyncio.sleep(_IN_FORCE_AFTER)
    yield
    await _alter(bootstrap_servers, client_id, 0.0, remove=True)


async def _alter(bootstrap_servers: str, client_id: str, bytes_per_second: float, *, remove: bool) -> None:
    entity = struct.pack(">i", 1) + _string("client-id") + _string(client_id)
    change = struct.pack(">i", 1) + _string("producer_byte_rate") + struct.pack(">d?", bytes_per_second, remove)
    body = struct.pack(">i", 1) + entity + change + struct.pack(">?", False)  # one entry, not only to validate
    answer = await _ask(bootstrap_servers, body)
    # After size, correlation id, throttle time and the count of entries: the first entry's code.
    (code,) = struct.unpack_from(">h", answer, 12)
    if code != 0:
        raise RuntimeError(f"AlterClientQuotas answered with code {code}")


async def _ask(bootstrap_servers: str, body: bytes) -> bytes:
    host, port = bootstrap_servers.split(",", maxsplit=1)[0].rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        request = struct.pack(">hhi", _ALTER_CLIENT_QUOTAS, 0, 1) + _string("tests") + body
        writer.write(struct.pack(">i", len(request)) + request)
        size = await reader.readexactly(4)
        return size + await reader.readexactly(struct.unpack(">i", size)[0])
    finally:
        writer.close()
        await writer.wait_closed()


def _string(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()
