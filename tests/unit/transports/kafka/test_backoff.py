"""Pauses between attempts."""

from __future__ import annotations

from eventpub.transports.kafka.backoff import RECONNECT, REFUSED


def test_no_pause_before_the_first_failure() -> None:
    """A connection that was never in trouble is made at once."""
    assert RECONNECT.pause(0) == 0


def test_pauses_grow_and_end_at_the_longest() -> None:
    """Each pause is about twice the one before, up to a second."""
    pauses = [RECONNECT.pause(failures) for failures in range(1, 12)]
    for pause, wanted in zip(pauses, [0.05, 0.1, 0.2, 0.4, 0.8, *[1.0] * 6], strict=True):
        assert 0.8 * wanted <= pause <= 1.2 * wanted


def test_pauses_differ_between_clients() -> None:
    """Two clients that failed together do not come back together."""
    assert len({RECONNECT.pause(3) for _ in range(20)}) > 1


def test_a_refusal_is_tried_again_more_slowly() -> None:
    """A wrong password is not sent ten times a second: accounts get locked for that."""
    assert REFUSED.pause(1) >= 0.4
    assert REFUSED.pause(1000) <= 12
