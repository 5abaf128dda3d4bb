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
