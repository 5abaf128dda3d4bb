"""`Transport.produce` for a transport that posts: the coroutine around a callback."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from eventpub.abc import Acked, AttemptResult, OnResult, Posted, Rejected

if TYPE_CHECKING:
    from collections.abc import Callable

    OnLate = Callable[[Acked | Rejected], None]


class _Outcome(asyncio.Future[AttemptResult]):
    """What a post came to; cancelling it cancels the post in the same step, before it could be written."""

    posted: Posted

    def cancel(self, msg: object = None) -> bool:
        self.posted.cancel()
        return super().cancel(msg)


async def produced(post: Callable[[OnResult], Posted], on_late: OnLate) -> AttemptResult:
    """Post, and return what came of it; *on_late* hears an answer that was on its way when this was cancelled."""
    outcome = _Outcome()

    def on_result(result: AttemptResult) -> None:
        if not outcome.done():
            outcome.set_result(result)
        elif isinstance(result, (Acked, Rejected)):
            on_late(result)

    outcome.posted = post(on_result)
    return await outcome
