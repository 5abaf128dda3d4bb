"""What the log says of brokers: which one is lost and reached again, and when none answers at all."""

from __future__ import annotations

import logging

from eventpub._log_limit import LogLimiter, and_more
from eventpub.transports.kafka.errors import AccessRefusedError, ConnectionFault, ConnectionLostError

_log = logging.getLogger("eventpub.brokers")
_log.addHandler(logging.NullHandler())  # whoever publishes is told by his exception, and `health` says it too

_BROKERS = 200  # whose recovery is told
_CLUSTER = ""


class _Lost:
    __slots__ = ("failures", "since", "told")

    def __init__(self, now: float) -> None:
        self.since = now
        self.failures = 0
        self.told = False


class BrokerLog:
    """Of one client. Names are ``host:port``; times are those of the event loop."""

    def __init__(self) -> None:
        self._lost: dict[str, _Lost] = {}
        self._ended: dict[str, ConnectionFault] = {}
        self._limiter = LogLimiter()
        self._answered = False

    def lost(self, broker: str, fault: ConnectionFault, now: float) -> None:
        """Note that no connection to *broker* came about."""
        self._note(broker, fault, now, f"broker {broker} is lost: {fault}", line="broker.lost")

    def ended(self, broker: str, fault: ConnectionFault | None, now: float) -> None:
        """Note what a connection to *broker* ended with; of one end it may be told twice."""
        if not isinstance(fault, ConnectionLostError) or self._ended.get(broker) is fault:
            return
        # No warning: brokers and what lies between end connections that were idle, and the next one
        # comes about. If it does not, the broker is lost; a request that was under way has failed.
        self._ended[broker] = fault
        untold = self._limiter.due((broker, "ended"), now)
        if untold is not None:
            facts = {"line": "connection.ended", "broker": broker, "untold": untold}
            _log.info("%s%s", fault, and_more(untold), extra=facts)

    def reached(self, broker: str, now: float) -> None:
        """Note a connection to *broker*."""
        self._recover(broker, now, f"broker {broker} is reached again", line="broker.reached")

    def nobody(self, fault: ConnectionFault, now: float) -> None:
        """Note that no broker answered the last question."""
        text = f"no broker answers, events wait inside their budgets; the last one: {fault}"
        self._note(_CLUSTER, fault, now, text, line="cluster.lost")

    def somebody(self, brokers: int, now: float) -> None:
        """Note an answer, from a cluster of that many *brokers*."""
        if not self._answered:
            self._answered = True
            text = "connected: a cluster of %d broker%s"
            _log.info(text, brokers, "s"[brokers == 1 :], extra={"line": "cluster.found", "brokers": brokers})
        self._recover(_CLUSTER, now, "a broker answers again", line="cluster.reached")

    def _note(self, broker: str, fault: ConnectionFault, now: float, text: str, line: str) -> None:
        lost = self._lost.get(broker)
        if lost is None:
            if len(self._lost) >= _BROKERS:
                return
            lost = self._lost[broker] = _Lost(now)
        lost.failures += 1
        # A refusal does not pass by itself: somebody has to change a setting.
        level = logging.ERROR if isinstance(fault, AccessRefusedError) else logging.WARNING
        untold = self._limiter.due((broker, level), now)
        if untold is None:
            return
        lost.told = True
        facts = {"line": line, "broker": broker or None, "error_type": type(fault).__name__, "untold": untold}
        _log.log(level, "%s%s", text, and_more(untold), extra=facts)

    def _recover(self, broker: str, now: float, text: str, line: str) -> None:
        lost = self._lost.pop(broker, None)
        if lost is not None and lost.told:
            took = now - lost.since
            facts = {"line": line, "broker": broker or None, "duration": took, "failures": lost.failures}
            _log.info("%s after %.1f s", text, took, extra=facts)
