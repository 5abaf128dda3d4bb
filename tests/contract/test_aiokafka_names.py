"""Every name of aiokafka that eventpub uses, pinned: none of them is documented API.

When one of these fails after an upgrade, `eventpub.transports.kafka.wire` has to change with it.
"""

from __future__ import annotations

import asyncio
import inspect
import struct
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version
from typing import Any

import pytest
from aiokafka import codec, conn
from aiokafka import errors as kafka_errors
from aiokafka.abc import AbstractTokenProvider
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol import admin, metadata, produce, transaction
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.record.default_records import DefaultRecordBatchBuilder

Broker = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


def test_the_version_is_the_one_that_was_read() -> None:
    """Private names may change in any release: 0.14 was read line by line."""
    assert version("aiokafka").startswith("0.14.")


def test_the_constructor_takes_what_we_give() -> None:
    """By keyword, behind host and port."""
    parameters = inspect.signature(AIOKafkaConnection).parameters
    assert list(parameters)[:2] == ["host", "port"]
    ours = {
        "client_id",
        "request_timeout_ms",
        "ssl_context",
        "security_protocol",
        "on_close",
        "sasl_mechanism",
        "sasl_plain_username",
        "sasl_plain_password",
        "sasl_oauth_token_provider",
    }
    assert ours <= set(parameters)


def test_the_methods_we_override_have_these_signatures() -> None:
    """`send`, `close`, `_handle_frame` and `_create_reader_task` are called by aiokafka itself, through the instance."""
    assert list(inspect.signature(AIOKafkaConnection.send).parameters) == ["self", "request", "expect_response"]
    assert list(inspect.signature(AIOKafkaConnection.close).parameters) == ["self", "reason", "exc"]
    assert list(inspect.signature(AIOKafkaConnection._handle_frame).parameters) == ["self", "resp"]
    source = inspect.getsource(conn)
    assert "self._handle_frame(resp)" in source
    assert list(inspect.signature(AIOKafkaConnection._create_reader_task).parameters) == ["self"]
    assert list(inspect.signature(AIOKafkaConnection._on_read_task_error).parameters) == ["self_ref", "read_task"]
    assert issubclass(conn.AIOKafkaProtocol, asyncio.StreamReaderProtocol)
    connecting = inspect.getsource(AIOKafkaConnection.connect)
    assert connecting.index("self._protocol = ") < connecting.index("self._read_task = self._create_reader_task()")
    assert "await self.send(SaslAuthenticateRequest(payload))" in source
    assert "await self.send(SaslHandShakeRequest(self._sasl_mechanism))" in source


def test_requests_are_prepared_with_the_brokers_versions() -> None:
    """Our settled requests stand in for aiokafka's builders by having `prepare`."""
    assert "request.prepare(self._versions)" in inspect.getsource(AIOKafkaConnection.send)
    assert list(inspect.signature(Request.prepare).parameters) == ["self", "versions"]


def test_frames_are_matched_with_the_oldest_request() -> None:
    """We append ``(correlation id, request, reply)``, and the reply is used like a future."""
    source = inspect.getsource(AIOKafkaConnection._handle_frame)
    assert "correlation_id, request, fut = self._requests[0]" in source
    assert "if not fut.done():" in source
    assert "fut.set_result(response)" in source
    assert "for _, _, fut in self._requests:" in inspect.getsource(AIOKafkaConnection.close)
    assert "fut.set_exception(error)" in inspect.getsource(AIOKafkaConnection.close)


@pytest.mark.parametrize(
    "cls, key, number",
    [
        (produce.ProduceRequest_v7, 0, 7),
        (produce.ProduceRequest_v8, 0, 8),
        (metadata.MetadataRequest_v4, 3, 4),
        (metadata.MetadataRequest_v5, 3, 5),
        (transaction.InitProducerIdRequest_v0, 22, 0),
        (admin.SaslAuthenticateRequest_v0, 36, 0),
        (admin.SaslAuthenticateRequest_v1, 36, 1),
    ],
)
def test_the_structs_we_send(cls: type[RequestStruct], key: int, number: int) -> None:
    """Keys, versions, no flexible header, and an answer that can be decoded."""
    assert (key, number, False) == (cls.API_KEY, cls.API_VERSION, cls.FLEXIBLE_VERSION)
    assert issubclass(cls.RESPONSE_TYPE, Response)


def fields(cls: Any) -> list[str]:
    """The names of a struct's fields, in order."""
    return list(cls.SCHEMA.names)


def nested(cls: Any, name: str) -> list[str]:
    """The names of the fields of an array's items."""
    return list(dict(zip(cls.SCHEMA.names, cls.SCHEMA.fields, strict=True))[name].array_of.names)


def test_the_fields_of_what_we_send() -> None:
    """In this order they are given."""
    assert fields(produce.ProduceRequest_v8) == ["transactional_id", "required_acks", "timeout", "topics"]
    assert fields(metadata.MetadataRequest_v5) == ["topics", "allow_auto_topic_creation"]
    assert fields(transaction.InitProducerIdRequest_v0) == ["transactional_id", "transaction_timeout_ms"]
    assert fields(admin.SaslAuthenticateRequest_v1) == ["sasl_auth_bytes"]


def test_the_fields_of_what_we_read() -> None:
    """In this order they are unpacked."""
    assert fields(produce.ProduceResponse_v8) == ["topics", "throttle_time_ms"]
    partitions = dict(
        zip(["topic", "partitions"], produce.ProduceResponse_v8.SCHEMA.fields[0].array_of.fields, strict=True)
    )
    assert list(partitions["partitions"].array_of.names) == [
        "partition",
        "error_code",
        "offset",
        "timestamp",
        "log_start_offset",
        "record_errors",
        "error_message",
    ]
    assert nested(metadata.MetadataResponse_v5, "brokers") == ["node_id", "host", "port", "rack"]
    assert nested(metadata.MetadataResponse_v5, "topics") == ["error_code", "topic", "is_internal", "partitions"]
    assert fields(transaction.InitProducerIdResponse_v0) == [
        "throttle_time_ms",
        "error_code",
        "producer_id",
        "producer_epoch",
    ]
    assert fields(admin.SaslAuthenticateResponse_v1)[-1] == "session_lifetime_ms"


def test_the_header_we_write_ourselves_is_aiokafkas() -> None:
    """Size, key, version, correlation id, client id: no tags up to version 8."""
    request = produce.ProduceRequest_v8(None, -1, 5000, [])
    ours = struct.pack(">hhih", 0, 8, 17, 8) + b"eventpub"
    assert request.build_request_header(17, "eventpub").encode() == ours


def test_batches_are_built_by_these_calls() -> None:
    """Positional, headers as a list; the compiled builder says so only by raising."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, 1, 2, 3, 2**31 - 1)
    assert builder.append(0, 1, b"k", b"v", [("h", None)]) is not None
    assert isinstance(builder.build(), bytearray)


def test_codecs_are_asked_for_by_these_names() -> None:
    """And found by looking for cramjam each time."""
    assert all(callable(has) for has in (codec.has_snappy, codec.has_lz4, codec.has_zstd))


def test_tokens_are_provided_by_this_class() -> None:
    """Aiokafka refuses any other kind of object."""
    assert inspect.iscoroutinefunction(AbstractTokenProvider.token)


def test_scram_is_made_and_derives_its_key_by_these_names() -> None:
    """Overridden to bound the iterations."""
    assert list(inspect.signature(conn.ScramAuthenticator.create_salted_password).parameters)[1:] == [
        "salt",
        "iterations",
    ]
    assert "self.create_salted_password(salt, iterations)" in inspect.getsource(
        conn.ScramAuthenticator.process_server_first_message
    )
    assert "authenticator = self.authenticator_scram()" in inspect.getsource(AIOKafkaConnection._do_sasl_handshake)


def test_errors_have_these_names() -> None:
    """Translated once, in `wire`."""
    assert kafka_errors.SaslAuthenticationFailed.errno == 58
    assert kafka_errors.UnsupportedSaslMechanismError.errno == 33
    assert kafka_errors.IllegalSaslStateError.errno == 34
    assert issubclass(kafka_errors.KafkaConnectionError, kafka_errors.KafkaError)


# --- behaviour that wire relies on ------------------------------------------------------


@pytest.fixture
async def server() -> AsyncIterator[tuple[str, int]]:
    """Run a server that answers ApiVersions and then nothing."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frame = await reader.readexactly(struct.unpack(">i", await reader.readexactly(4))[0])
        body = frame[4:8] + struct.pack(">hi", 0, 1) + struct.pack(">hhh", 0, 0, 8)
        writer.write(struct.pack(">i", len(body)) + body)
        await reader.read()
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield listening.sockets[0].getsockname()
    listening.close()
    await listening.wait_closed()


async def test_what_a_connection_holds_once_it_is_open(server: tuple[str, int]) -> None:
    """Versions by API key, a writer, a queue of requests, and a future for its end."""
    closed: list[Any] = []
    connection = AIOKafkaConnection(*server, on_close=lambda *args: closed.append(args))
    await connection.connect()
    assert connection._versions == {0: (0, 8)}
    assert isinstance(connection._writer, asyncio.StreamWriter)
    assert connection.connected()
    assert not connection._requests
    assert connection._next_correlation_id() == 2
    assert connection._client_id == "aiokafka"
    connection.close()
    assert closed[0][0] is connection
    assert connection._writer is None
    await asyncio.wait_for(connection._closed_fut, 1)
