"""An event: a payload as a frozen pydantic model, and an envelope of its own beside it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, Self, Unpack

from pydantic import BaseModel, ConfigDict
from uuid_utils import uuid7

from eventpub._unset import UNSET, Unset
from eventpub.declaration import Declaration, EventKeywords, declare, declared, hides_envelope
from eventpub.envelope import Envelope, Extension, wall_clock
from eventpub.subject import subject_reader

_PostInit = Callable[[Any, Any], None]


class Event(BaseModel):
    """What happened, as a frozen pydantic model.

    ::

        class TaskCreated(Event, type="task.created", topic="tasks", key="task_id"):
            task_id: str
            title: str

    Class keywords, inherited unless restated, but for the type:

    - ``type``: the CloudEvents type. A class without it is an abstract base.
    - ``topic``: where its events go; default: the publisher's ``topic_for``, which is the type itself.
    - ``key``: a field's name, or a function of the event, or none. Equal keys keep their order.
    - ``profile``: a `DeliveryProfile` or the name of one; default: the publisher's.
    - ``subject``: a text, in which ``{field}`` stands for that field, or a function of the event.
    - ``dataschema``: the URI of the payload's schema.
    - ``envelope``: ``"binary"`` (default), ``"structured"`` or ``"none"``.
    - ``registry``: the `EventRegistry` that the class enters.

    Each instance has an `envelope`: its id (a UUIDv7) and time are made once, at
    construction, and stay through pickling, retries, dead letters and a second publish.
    They are no part of the payload: equality, hash, dumps and JSON schema leave them out,
    and a payload field may be called ``id``, ``time``, ``source`` or ``type``.

    Raises:
        ConfigurationError: when the class is made: everything in it that makes no sense.
    """

    # Publishing refuses NaN and infinity, which JSON has not. "constants", because pydantic's
    # default would write null for one that slipped through: a broken payload is noticed.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    # The envelope is made for every event. Over a model without one (0.80 µs for three
    # fields) it costs, of which 0.25 are the UUIDv7 and the clock: 0.7 µs by a slot that
    # model_post_init fills, 0.9 by __new__, 1.0 by __init__, 1.5 by a private attribute.
    if TYPE_CHECKING:

        @property
        def envelope(self) -> Envelope:
            """This instance's id, time, subject and extensions."""
    else:
        __slots__ = ("envelope",)

    __eventpub__: ClassVar[Declaration] = Declaration()
    __eventpub_stated__: ClassVar[Mapping[str, Any]] = {}
    __eventpub_subject__: ClassVar[Callable[[Any], str | None] | None] = None

    def __init_subclass__(cls, **keywords: Unpack[EventKeywords]) -> None:
        super().__init_subclass__()
        # pydantic only warns of a field that hides an attribute, so look before it collects them.
        annotations = _annotations(cls)
        if hides_envelope(cls, annotations):
            declare(cls, keywords, {**cls.__pydantic_fields__, **annotations})

    @classmethod
    def __pydantic_init_subclass__(cls, **keywords: Any) -> None:
        super().__pydantic_init_subclass__()
        origin = cls.__pydantic_generic_metadata__["origin"]
        if origin is not None:  # Changed[Task] is Changed with its types filled in, not a new event
            cls.__eventpub__ = declared(origin)
            return
        cls.__eventpub_stated__ = keywords
        cls.__eventpub__ = declare(cls, keywords, {**cls.__pydantic_fields__, **cls.__pydantic_computed_fields__})
        cls.__eventpub_subject__ = subject_reader(cls.__eventpub__.subject)
        if "model_post_init" in cls.__dict__:
            cls.model_post_init = _keeping_envelope(cls.model_post_init)  # type: ignore[method-assign]
        if cls.__eventpub__.type is not None:
            cls.__eventpub__.registry.add(cls.__eventpub__.type, cls)

    def model_post_init(self, _context: Any, /) -> None:
        """Make the envelope. A subclass's own need not call this one."""
        subject = self.__eventpub_subject__
        _set_envelope(self, _new(Envelope, (str(uuid7()), wall_clock(), None if subject is None else subject(), ())))

    def with_envelope(
        self,
        *,
        id: str | None = None,  # noqa: A002 - CloudEvents' own name
        time: datetime | None = None,
        subject: str | Unset | None = UNSET,
        extensions: Mapping[str, Extension] | None = None,
    ) -> Self:
        """Return a copy with what is given in its envelope; what is not given stays.

        Args:
            id: a text that is unique for this event within its source.
            time: an aware datetime, sent in UTC.
            subject: a text, or ``None`` for no subject.
            extensions: all extension attributes. Names are a-z and 0-9; values are ``str``,
                ``int`` of 32 bits, ``bool``, ``bytes`` or an aware ``datetime``.

        Raises:
            ConfigurationError: values that CloudEvents does not allow, all of them.
            UsageError: an argument of the wrong type.
        """
        revised = self.envelope.revised(id, time, subject, extensions)
        copied = self.__copy__()
        _set_envelope(copied, revised)
        return copied

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy as pydantic does, which is another event: it has an envelope of its own."""
        copied = super().model_copy(update=update, deep=deep)
        Event.model_post_init(copied, None)
        return copied

    def __copy__(self) -> Self:
        copied = super().__copy__()
        _set_envelope(copied, self.envelope)
        return copied

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        copied = super().__deepcopy__(memo)
        _set_envelope(copied, self.envelope)
        return copied

    def __getstate__(self) -> dict[Any, Any]:
        return {**super().__getstate__(), "envelope": self.envelope}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        _set_envelope(self, state["envelope"])
        super().__setstate__(state)


_new = tuple.__new__
_set_envelope = Event.__dict__["envelope"].__set__


def _keeping_envelope(post_init: _PostInit) -> _PostInit:
    """Make the envelope after *post_init*, unless that called `Event.model_post_init` itself."""

    @wraps(post_init)
    def with_envelope(self: Event, context: Any, /) -> None:
        post_init(self, context)
        if not hasattr(self, "envelope"):
            Event.model_post_init(self, context)

    return with_envelope


def _annotations(event_class: type) -> Mapping[str, Any]:
    if sys.version_info >= (3, 14):  # evaluated on demand, where a name may not exist yet
        from annotationlib import Format, get_annotations

        return get_annotations(event_class, format=Format.FORWARDREF)
    return inspect.get_annotations(event_class)
