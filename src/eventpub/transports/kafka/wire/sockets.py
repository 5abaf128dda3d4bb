"""aiokafka's connection as eventpub needs it: read by size, ended by abort, authenticated within bounds."""

from __future__ import annotations

import asyncio
import re
import struct
import weakref
from collections.abc import Awaitable
from functools import partial

from aiokafka import errors as kafka_errors
from aiokafka.abc import AbstractTokenProvider
from aiokafka.conn import AIOKafkaConnection, ScramAuthenticator
from aiokafka.protocol import admin as admin_api
from aiokafka.protocol.api import Request, Response

from eventpub.config import TokenProvider
from eventpub.transports.kafka.answers import ProduceAnswer, ProduceReply
from eventpub.transports.kafka.errors import (
    AccessRefusedError,
    NotKafkaError,
    UnreachableError,
)
from eventpub.transports.kafka.wire.frames import Frames
from eventpub.transports.kafka.wire.requests import (
    SASL,
    Produce,
    Settled,
    Versions,
)
from eventpub.transports.kafka.wire.translation import (
    fault_of_loss,
    results_of,
)

_SCRAM_ITERATIONS = (4096, 1_000_000)
"""RFC 7677 asks for 4,096 at least; Kafka allows its administrators 16,384 at most."""

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # what else it held could end its field and begin another
_TOKEN_REFUSED = b"\x01"


_HEADER = struct.Struct(">ihhih")


class Tokens(AbstractTokenProvider):  # type: ignore[misc]
    """The user's async function, as aiokafka asks for it."""

    def __init__(self, provide: TokenProvider) -> None:
        self._provide = provide

    async def token(self) -> str:
        """Return a fresh token; whatever the function raises may be better at the next connect."""
        try:
            token = await self._provide()
        except asyncio.CancelledError as error:
            # Only ours ends the connect; one that the function brought along would end the
            # task behind it, and with it everything that is still to be asked.
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            raise UnreachableError("sasl_token_provider was cancelled") from error
        except Exception as error:
            raise UnreachableError(f"sasl_token_provider raised {type(error).__name__}") from error
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise AccessRefusedError("sasl_token_provider must return a token: letters, digits and -._~+/= (RFC 6750)")
        return token


class Scram(ScramAuthenticator):  # type: ignore[misc]
    """SCRAM with bounds on the work that a broker may ask for."""

    def create_salted_password(self, salt: bytes, iterations: int) -> None:
        """Derive the key; in a thread that nobody can stop, so not for hours."""
        if not _SCRAM_ITERATIONS[0] <= iterations <= _SCRAM_ITERATIONS[1]:
            raise AccessRefusedError(
                f"the broker asks for {iterations} SCRAM iterations, outside of {_SCRAM_ITERATIONS}"
            )
        super().create_salted_password(salt, iterations)


class Socket(AIOKafkaConnection):  # type: ignore[misc]
    """aiokafka's connection, closed by abort, and with the lifetime of its SASL session kept."""

    session_lifetime = 0.0
    cause: BaseException | None = None
    _expects_none = False

    @property
    def versions(self) -> Versions:
        """What the broker said it speaks: lowest and highest version by API."""
        versions: Versions = self._versions
        return versions

    @property
    def writer(self) -> asyncio.StreamWriter:
        """The way out, once connected."""
        writer: asyncio.StreamWriter = self._writer
        return writer

    def send(self, request: Request, expect_response: bool = True) -> Awaitable[Response]:  # noqa: FBT001, FBT002 - aiokafka's signature
        """Write a request; return what waits for its answer."""
        if isinstance(request, admin_api.SaslAuthenticateRequest):
            return self._authenticate(request)
        if isinstance(request, admin_api.SaslHandShakeRequest):
            return self._agree(request)
        answer: Awaitable[Response] = super().send(request, expect_response)
        return answer

    def authenticator_scram(self) -> Scram:
        """Return the client's side of SCRAM."""
        return Scram(
            loop=self._loop,
            sasl_plain_password=self._sasl_plain_password,
            sasl_plain_username=self._sasl_plain_username,
            sasl_mechanism=self._sasl_mechanism,
        )

    async def _agree(self, request: Request) -> Response:
        answer = await super().send(request)
        if answer.error_code == kafka_errors.UnsupportedSaslMechanismError.errno:
            offered = ", ".join(answer.enabled_mechanisms)
            raise kafka_errors.UnsupportedSaslMechanismError(f"{self._sasl_mechanism}, only {offered}")
        return answer

    async def _authenticate(self, request: Request) -> Response:
        answer = await self._exchange(request)
        if self._sasl_mechanism == "OAUTHBEARER" and answer.error_code == 0 and answer.sasl_auth_bytes:
            # A token is refused in two steps (RFC 7628): a reason that has no error code, and the
            # code when we say that we heard it. aiokafka takes the first step for a welcome, and
            # Kafka then answers our metadata requests with no brokers and no error.
            answer = await self._exchange(admin_api.SaslAuthenticateRequest(_TOKEN_REFUSED))
        # aiokafka decodes the lifetime and drops it; the broker then ends the session (KIP-368).
        self.session_lifetime = max(0, answer.session_lifetime_ms) / 1000
        return answer

    async def _exchange(self, request: Request) -> Response:
        plain = request.prepare(self._versions)
        redacted = SASL[plain.API_VERSION](plain.sasl_auth_bytes)
        return await super().send(Settled(redacted))

    def close(self, reason: object = None, exc: BaseException | None = None) -> None:
        """Abort, and fail whatever waits for an answer."""
        # Never politely: a peer that does not read keeps a closing transport, and with it
        # the socket, for as long as there are bytes to flush.
        if self._writer is not None:
            self.cause = exc
            self._writer.transport.abort()
        super().close(reason, exc)

    async def wait_closed(self) -> None:
        """Return when the loop has closed the socket."""
        if self._closed_fut is not None:
            await asyncio.wait([self._closed_fut])

    def post(self, request: Produce, reply: ProduceAnswered | None) -> None:
        """Write a request; *reply* learns the answer in the reader's own turn of the loop."""
        correlation, client, pieces = self._next_correlation_id(), self._client_id.encode(), request.pieces()
        size = _HEADER.size - 4 + len(client) + sum(map(len, pieces))
        header = _HEADER.pack(size, request.API_KEY, request.API_VERSION, correlation, len(client))
        if reply is not None:
            self._requests.append((correlation, request, reply))
        self._expects_none = reply is None
        # Joined, although it is a copy: `writelines` of Python 3.12 and 3.13.0 forgets to pause
        # the protocol, and `drain` would say that a full socket had taken everything.
        self._writer.write(b"".join((header, client, *pieces)))

    def _create_reader_task(self) -> asyncio.Future[None]:
        """Begin to read; as aiokafka does, but without a task."""
        this, transport = weakref.ref(self), self.writer.transport

        def take(frame: bytes) -> None:
            socket = this()  # a connection that everybody forgot must not live on because of its reader
            if socket is not None:
                socket._handle_frame(frame)

        frames = Frames(self._protocol, take)
        transport.set_protocol(frames)
        frames.ended.add_done_callback(partial(self._on_read_task_error, this))
        return frames.ended

    def _handle_frame(self, frame: bytes) -> None:
        if not self._requests:
            # librdkafka's mock brokers answer acks=0 requests, which Kafka never does; aiokafka
            # would end the connection over it.
            if self._expects_none:
                return
            raise NotKafkaError("an answer that nobody waits for")
        try:
            super()._handle_frame(frame)
        except Exception as error:
            raise NotKafkaError("an answer that cannot be read") from error


class ProduceAnswered:
    """Stands where aiokafka keeps a future: saves a task, a timer and a turn of the loop per request."""

    __slots__ = ("_broker", "_reply")

    def __init__(self, broker: str, reply: ProduceReply) -> None:
        self._broker = broker
        self._reply = reply

    def done(self) -> bool:
        """Whether nobody waits; late answers concern somebody too."""
        return False

    def set_result(self, response: Response) -> None:
        """Take the answer."""
        results = results_of(self._broker, response.topics)
        self._reply.answered(ProduceAnswer(results, response.throttle_time_ms / 1000))

    def set_exception(self, error: BaseException) -> None:
        """Take the end of the connection."""
        self._reply.lost(fault_of_loss(self._broker, error))
