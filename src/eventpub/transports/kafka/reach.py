"""What the log says of brokers: which one is lost and reached again, and when none answers at all."""

from __future__ import annotations

import logging

from eventpub._repeats import Repeats, and_more
from eventpub.transports.kafka.errors import AccessRefusedError, ConnectionFault

_log = logging.getLogger("eventpub.brokers")
_log.addHandler(logging.NullHandler())  # whoever publishes is told by his exception, and `health` says it too

_BROKERS = 200  # whose recovery is told
_CLUSTER = ""


class _Lost:
    __slots__ = ("failures", "fault", "since", "told")

    def __init__(self, now: float) -> None:
        self.since = now
        self.failures = 0
        self.told = False
        self.fault: ConnectionFault | None = None


class Reach:
    """Of one client. Names are ``host:port``; times are those of the event loop."""

    def __init__(self) -> None:
        self._lost: dict[str, _Lost] = {}
        self._repeats = Repeats()
        self._answered = False

    def lost(self, broker: str, fault: ConnectionFault, now: float) -> None:
        """Note that a connection to *broker* ended or did not come about; of one fault it may be told twice."""
        self._note(broker, fault, now, f"broker {broker} is lost: {fault}", line="broker.lost")

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
        if lost.fault is fault:
            return
        lost.fault = fault
        lost.failures += 1
        # A refusal does not pass by itself: somebody has to change a setting.
        level = logging.ERROR if isinstance(fault, AccessRefusedError) else logging.WARNING
        untold = self._repeats.due((broker, level), now)
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
