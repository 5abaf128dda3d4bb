"""Why a broker could not be used: our own small set, whatever library noticed it.

::

    ConnectionFault
    ├── UnreachableError         no connection came about; another attempt may succeed
    ├── AccessRefusedError       authentication, TLS or protocol version: waiting does not help
    ├── ConnectionLostError      an established connection ended
    ├── NoAnswerError            nothing came back in time
    └── TransportClosedError     this client is closing

They are causes: of `NotSent`, `InDoubt` and `StartError`. They name the broker and what it
or the socket said, never a payload or a secret.
"""

from __future__ import annotations

import ssl

from eventpub.exceptions import EventPubError


class ConnectionFault(EventPubError):  # noqa: N818 - the family; its members are errors by name
    """Root of the set."""


class UnreachableError(ConnectionFault):
    """No connection came about: nobody listens, no route, no name, or no answer in time."""


class AccessRefusedError(ConnectionFault):
    """The broker, or our own checks of it, refuse this client; the setting must change."""


class ConnectionLostError(ConnectionFault):
    """An established connection ended, or what came over it was no answer."""


class NoAnswerError(ConnectionFault):
    """The time for an answer ran out."""


class TransportClosedError(ConnectionFault):
    """The transport is closed or closing."""


class NotKafkaError(ConnectionError):
    """What came over a connection is no frame. For `unreachable` and `lost` to translate."""


def unreachable(broker: str, error: BaseException, limit: float) -> ConnectionFault:
    """Return why no connection to *broker* came about within *limit* seconds; the most specific reason wins."""
    match error:
        case ConnectionFault():
            fault: ConnectionFault = error
        case TimeoutError():
            fault = UnreachableError(f"{broker} did not let us in within {limit:g} s (connect_timeout)")
        case NotKafkaError():
            fault = UnreachableError(f"{broker} does not speak Kafka's protocol here: {_HINT}")
        case EOFError():
            fault = UnreachableError(f"{broker} ended the connection before it was usable: is security_protocol right?")
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError() | ConnectionResetError() | ConnectionAbortedError():
            fault = UnreachableError(f"{broker} ended the connection in the handshake (TCP or TLS): {_HINT}")
        case ssl.SSLCertVerificationError():
            fault = AccessRefusedError(f"{broker}: its TLS certificate is not accepted: {error}")
        case ssl.SSLError():
            fault = AccessRefusedError(f"{broker}: the TLS handshake failed: {error}; {_HINT}")
        case _:
            fault = UnreachableError(f"{broker} cannot be reached: {error}")
    return fault


def lost(broker: str, error: BaseException | None) -> ConnectionFault:
    """Return why the connection to *broker* ended."""
    if isinstance(error, ConnectionFault):
        return error
    if isinstance(error, TimeoutError):
        return NoAnswerError(f"{broker} did not answer in time")
    detail = "" if error is None or isinstance(error, EOFError) else f": {error}"
    fault = ConnectionLostError(f"the connection to {broker} ended{detail}")
    fault.__cause__ = error
    return fault


_HINT = "are port and security_protocol right?"
