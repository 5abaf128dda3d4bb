"""What an HTTP client is told of an event that did not end as *persisted*; decides the status code.

Each code answers the client's question, "shall I send my request again?":

=====  ==========================================================================  ===========
code   the event                                                                   again?
=====  ==========================================================================  ===========
503    is not in the log, and never will be                                        yes, later
500    is not in the log, and will not be before a person changes something        no
202    may be in the log, or may yet come there                                    not blindly
=====  ==========================================================================  ===========

**A rejected event is 500**, not 422: the client's request was understood and accepted by the
application, and what the brokers refused is an event, a topic or a permission that are the
application's. The client cannot mend them; whoever watches for 5xx can. No ``Retry-After``.

**An event kept as a dead letter is 202**, not 503, although it is not persisted: the service
has taken it, and it is published when the letter is replayed. A client that sent its request
again would have the fact published twice, under two ids. That holds while the letter is still
being written, too. If no sink took it, it is 503: then it exists nowhere but with the client.
A *rejected* event that was kept stays 500: somebody has to act before a replay can succeed.

**A possibly persisted event is 202**: "the request might or might not eventually be acted
upon" (RFC 9110, 15.3.3) is what is known.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from eventpub.delivery import PersistenceStatus
from eventpub.exceptions import PublishError, RejectedError


class Problem(NamedTuple):
    """A problem type of RFC 9457: what all answers of one kind have in common."""

    name: str
    title: str
    status: int
    detail: str

    @property
    def retryable(self) -> bool:
        """Whether the client may send its request again as it is."""
        return self.status == NOT_PERSISTED.status


NOT_PERSISTED = Problem(
    "not-persisted",
    "Event not persisted",
    503,
    "The event was certainly not written. The same request may be sent again.",
)
REJECTED = Problem(
    "rejected",
    "Event rejected",
    500,
    "The event was certainly not written, and the same request would fail again until the service is changed.",
)
KEPT = Problem(
    "kept",
    "Event kept as a dead letter",
    202,
    "The event was not written yet; it is kept and may be written later. The same request could write it twice.",
)
POSSIBLY_PERSISTED = Problem(
    "possibly-persisted",
    "Event possibly persisted",
    202,
    "The event may have been written. The same request could write it twice; its id tells whether it is there.",
)


def problem_of(error: PublishError) -> Problem:
    """Return which of the four an event ended as."""
    if error.status is PersistenceStatus.POSSIBLY_PERSISTED:
        return POSSIBLY_PERSISTED
    if isinstance(error, RejectedError):
        return REJECTED
    if error.dead_letter is not None and error.dead_letter.state != "failed":
        return KEPT
    return NOT_PERSISTED


def body_of(error: PublishError, *, details: bool) -> dict[str, Any]:
    """Return the members of the problem, without key or payload.

    With *details* its ``detail`` is the error's message, which names topics, settings and brokers.
    """
    problem = problem_of(error)
    body = {
        "type": f"urn:problem-type:eventpub:{problem.name}",
        "title": problem.title,
        "status": problem.status,
        "detail": str(error) if details else problem.detail,
        "persistence": error.status.value,
        "retryable": problem.retryable,
        "event_id": error.event_id,
    }
    if error.dead_letter is not None:
        body["dead_letter"] = error.dead_letter._asdict()
    return body
