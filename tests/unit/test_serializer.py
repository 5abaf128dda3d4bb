"""A payload as JSON, and what JSON cannot express."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, SerializeAsAny, computed_field, field_serializer

from eventpub._floats import detector
from eventpub.event import Event
from eventpub.exceptions import SerializationError
from eventpub.registry import EventRegistry
from eventpub.serializer import json_serializer

NAN, INF = math.nan, math.inf


class Isolated(Event, registry=EventRegistry()):
    """A base whose subclasses stay out of the default registry."""


class Colour(Enum):
    RED = "red"
    FIVE = 5


class Odd(Enum):
    NAN = NAN
    ONE = 1.0


class Point(BaseModel):
    x: float = 0.0
    name: str = ""


@dataclass
class Size:
    width: float = 1.0


class Anything(Isolated, type="anything"):
    data: Any = None
    note: str = ""


class Measured(Isolated, type="measured"):
    name: str = "m"
    value: float = 1.0
    maybe: float | None = None
    many: list[float] = Field(default=[])
    by_name: dict[str, float] = Field(default={})
    point: Point = Point()
    points: list[Point] = Field(default=[])
    size: Size = Size()
    mixed: int | float | str = 1
    odd: Odd = Odd.ONE
    data: Any = None
    hidden: float = Field(default=NAN, exclude=True)


def payload_of(event: Event) -> Any:
    """Return what a consumer reads."""
    return json.loads(json_serializer(type(event))(event))


def refusal_of(event: Event) -> str:
    """Return the message that *event* is refused with."""
    with pytest.raises(SerializationError) as error:
        json_serializer(type(event))(event)
    return str(error.value)


def test_payloads_are_written_as_pydantic_writes_them() -> None:
    """Fields of every common type arrive as pydantic's JSON has them, without spaces."""

    class Rich(Isolated, type="rich"):
        when: datetime = datetime(2026, 1, 2, tzinfo=UTC)
        amount: Decimal = Decimal("1.10")
        colour: Colour = Colour.RED
        ident: UUID = UUID(int=1)
        raw: bytes = b"abc"

    event = Rich()
    written = json_serializer(Rich)(event)
    assert written == event.model_dump_json().encode()
    assert b": " not in written


def test_fields_keep_their_aliases_only_where_the_config_says_so() -> None:
    """serialize_by_alias is the user's switch, as in pydantic."""

    class Named(Isolated, type="named"):
        model_config = ConfigDict(serialize_by_alias=True)
        task_id: str = Field(default="1", serialization_alias="taskId")

    assert payload_of(Named()) == {"taskId": "1"}


@pytest.mark.parametrize(
    "field, value, path",
    [
        ("value", NAN, "value"),
        ("value", INF, "value"),
        ("value", -INF, "value"),
        ("maybe", NAN, "maybe"),
        ("many", [1.0, NAN], "many[1]"),
        ("by_name", {"secret": INF}, "by_name"),
        ("point", Point(x=NAN), "point.x"),
        ("points", [Point(), Point(x=INF)], "points[1].x"),
        ("size", Size(width=NAN), "size"),
        ("mixed", NAN, "mixed"),
        ("odd", Odd.NAN, "odd"),
        ("data", NAN, "data"),
        ("data", {"secret": [1, {"deep": (INF,)}]}, "data"),
        ("data", [0, NAN], "data[1]"),
        ("data", Point(x=NAN), "data.x"),
        ("data", frozenset({NAN}), "data"),
        ("data", {"a": Size(width=-INF)}, "data"),
    ],
)
def test_nan_and_infinity_are_refused_by_the_name_of_the_field(field: str, value: Any, path: str) -> None:
    """Wherever a float may stand, one that JSON has not is refused; pydantic would write null for some."""
    message = refusal_of(Measured(**{field: value}))
    assert message.startswith(f"{path}: holds NaN or infinity, which JSON has not")
    assert "ser_json_inf_nan" in message
    assert "secret" not in message


def test_finite_floats_pass_everywhere() -> None:
    """The same fields with ordinary floats are written, and an excluded field may be NaN."""
    event = Measured(value=1.5, many=[0.1], points=[Point(x=-2.5)], data={"a": [1.0, {"b": 2.5}]}, by_name={"k": 3.0})
    assert payload_of(event) == json.loads(event.model_dump_json())


def test_nested_models_do_not_turn_nan_into_null() -> None:
    """A nested model's own config would write null: what the consumer cannot tell from none."""
    assert '"x":null' in Measured(point=Point(x=NAN)).model_dump_json()
    assert refusal_of(Measured(point=Point(x=NAN))).startswith("point.x: ")


def test_what_serializers_return_is_looked_at_too() -> None:
    """NaN from a computed field or a field serializer is found, though no field holds it."""

    class Computed(Isolated, type="computed"):
        n: int = 0

        @computed_field  # type: ignore[prop-decorator]
        @property
        def ratio(self) -> float:
            """Return one over n."""
            return 1 / self.n if self.n else NAN

    class Serialized(Isolated, type="serialized"):
        n: int = 0

        @field_serializer("n")
        def as_float(self, value: int) -> Any:
            """Return an infinity of that sign."""
            return value * INF if value else 0

    assert refusal_of(Computed()).startswith("ratio: holds NaN")
    assert payload_of(Computed(n=2)) == {"n": 2, "ratio": 0.5}
    assert refusal_of(Serialized(n=1)).startswith("n: holds NaN")
    assert payload_of(Serialized()) == {"n": 0}


@pytest.mark.parametrize("mode, written", [("null", None), ("strings", "NaN")])
def test_the_user_may_choose_how_nan_is_written(mode: Any, written: Any) -> None:
    """A class that says ser_json_inf_nan itself gets what it says."""

    class Lenient(Isolated, type="lenient"):
        model_config = ConfigDict(ser_json_inf_nan=mode)
        value: float

    assert payload_of(Lenient(value=NAN)) == {"value": written}


@pytest.mark.parametrize(
    "annotation",
    [
        *(str, int, bool, bytes, date, datetime, time, timedelta, Decimal, UUID, complex, HttpUrl, Colour),
        *(Literal["a", "b"], int | None, list[str], tuple[int, ...], dict[str, list[int]], set[str]),
        *(Annotated[int, Field(gt=0)], int | str, list[UUID], pydantic.SecretStr),
    ],
)
def test_classes_without_floats_are_not_looked_at(annotation: Any) -> None:
    """Where the schema rules NaN out, publishing does not look for it."""
    made = pydantic.create_model("Made", __base__=Isolated, __cls_kwargs__={"type": "made"}, field=(annotation, ...))
    assert detector(made) is None


@pytest.mark.parametrize(
    "annotation",
    [
        *(float, Any, object, list, dict, float | None, list[float], dict[str, Any], tuple[int, float], Odd, Point),
        *(Size, int | float, SerializeAsAny[Colour], dict[float, str], pydantic.JsonValue, list[list[Point]]),
    ],
)
def test_classes_that_may_hold_floats_are_looked_at(annotation: Any) -> None:
    """Where the schema allows a float, however deep, publishing looks."""
    made = pydantic.create_model("Made", __base__=Isolated, __cls_kwargs__={"type": "made"}, field=(annotation, ...))
    assert detector(made) is not None


class Tree(Isolated, type="tree"):
    """Refers to itself, so that its schema is made of definitions."""

    weight: float = 0.0
    children: list[Tree] = Field(default=[])


def test_recursive_models_are_looked_at() -> None:
    """NaN deep in a recursive payload is found and named by its way."""
    assert payload_of(Tree(children=[Tree()])) == {"weight": 0.0, "children": [{"weight": 0.0, "children": []}]}
    tree = Tree(children=[Tree(), Tree(children=[Tree(weight=NAN)])])
    assert refusal_of(tree).startswith("children[1].children[0].weight: holds NaN")


def test_extra_fields_are_looked_at() -> None:
    """A class that allows extra fields may hold NaN in them."""

    class Open(Isolated, type="open"):
        model_config = ConfigDict(extra="allow")
        n: int

    assert payload_of(Open(n=1, more=1.5)) == {"n": 1, "more": 1.5}  # type: ignore[call-arg]
    assert "holds NaN" in refusal_of(Open(n=1, more=NAN))  # type: ignore[call-arg]


def nest(depth: int) -> Any:
    """Return lists in lists."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def cycle() -> Any:
    """Return a list that holds itself."""
    value: list[Any] = []
    value.append(value)
    return value


class Foreign:
    """Something JSON has no form for."""

    def __repr__(self) -> str:
        return "secret"


@pytest.mark.parametrize(
    "value, message",
    [
        ("secret\ud800", "data: holds a lone surrogate, which UTF-8 cannot express"),
        ({"secret\udfff": 1}, "data: holds a lone surrogate, which UTF-8 cannot express"),
        (["fine", "secret\ud800"], "data[1]: holds a lone surrogate, which UTF-8 cannot express"),
        (Point.model_construct(name="secret\ud800"), "data.name: holds a lone surrogate, which UTF-8 cannot express"),
        (b"secret\xff", 'data: holds bytes that are not UTF-8; set ser_json_bytes="base64" in model_config'),
        (Foreign(), "data: holds a test_serializer.Foreign value, which has no JSON form"),
        (ValueError("secret"), "data: holds a ValueError value, which has no JSON form"),
    ],
)
def test_what_has_no_json_form_is_refused_by_the_name_of_the_field(value: Any, message: str) -> None:
    """The message names the field and the reason, and shows neither value nor key."""
    said = refusal_of(Anything(data=value))
    assert said.replace("tests.unit.", "").replace("unit.", "") == message


def test_a_cycle_is_refused() -> None:
    """A payload that contains itself is an error, not an endless loop."""
    value = cycle()
    message = refusal_of(Anything(data=value))
    value.clear()
    assert message.endswith(": refers to itself")
    assert message.startswith("data")


@pytest.mark.parametrize("depth", [300, 10_000])
def test_a_payload_nested_too_deeply_is_refused(depth: int) -> None:
    """Depth beyond pydantic's limit is an error that names the field, not a crash."""
    message = refusal_of(Anything(data=nest(depth)))
    assert message.startswith("data")
    assert message.endswith(": is nested too deeply")


def test_a_deep_but_legal_payload_is_written() -> None:
    """A hundred levels are fine."""
    assert payload_of(Anything(data=nest(100)))["data"] == nest(100)


def test_a_serializer_that_raises_is_named_without_its_words() -> None:
    """What a user's serializer raises is the cause; the message gives the field and the kind of error."""

    class Broken(Isolated, type="broken"):
        fine: int = 1
        owner: str = "secret"

        @field_serializer("owner")
        def fail(self, value: str) -> str:
            """Raise what quotes the payload."""
            raise KeyError(value)

    with pytest.raises(SerializationError, match=r"^owner: its serializer raised \w+Error$") as error:
        json_serializer(Broken)(Broken())
    assert error.value.__cause__ is not None


def test_a_computed_field_that_raises_is_named() -> None:
    """Looking for the guilty field does not trip over it."""

    class Raising(Isolated, type="raising"):
        n: int = 0

        @computed_field  # type: ignore[prop-decorator]
        @property
        def inverse(self) -> int:
            """Return one over n."""
            return 1 // self.n

    with pytest.raises(SerializationError, match=r"^inverse: its serializer raised \w+Error$"):
        json_serializer(Raising)(Raising())


def test_a_class_completed_later_is_looked_at_then() -> None:
    """Deferred schemas and forward references are resolved before the first event is written."""

    class Deferred(Isolated, type="deferred", key="n"):
        model_config = ConfigDict(defer_build=True)
        n: float

    assert payload_of(Deferred(n=1.5)) == {"n": 1.5}
    assert refusal_of(Deferred(n=NAN)).startswith("n: holds NaN")


def test_values_that_are_not_what_the_fields_say_are_sent_as_they_are() -> None:
    """An event of model_construct is written with the values it has, and no warning shows them."""

    class Typed(Isolated, type="typed"):
        n: int
        name: str

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert payload_of(Typed.model_construct(n="secret", name=["a"])) == {"n": "secret", "name": ["a"]}
    assert refusal_of(Typed.model_construct(n=1, name="secret\ud800")) == (
        "name: holds a lone surrogate, which UTF-8 cannot express"
    )


@pytest.mark.parametrize("digits", [20, 400, 4000])
def test_huge_integers_are_written_exactly(digits: int) -> None:
    """An integer of any size arrives digit by digit."""
    assert payload_of(Anything(data=-(10**digits)))["data"] == -(10**digits)


def test_a_long_list_with_one_bad_element_is_refused_at_once() -> None:
    """The field is named without trying every element of a list of a hundred thousand."""
    assert refusal_of(Measured(many=[1.0] * 100_000 + [NAN])).startswith("many: holds NaN")


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**60), 10**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet=st.characters(exclude_categories=["Cs"])),
    lambda children: (
        st.lists(children, max_size=4)
        | st.dictionaries(st.text(alphabet=st.characters(exclude_categories=["Cs"])), children, max_size=4)
    ),
    max_leaves=20,
)


@given(data=JSON_VALUES, note=st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_every_json_value_survives(data: Any, note: str) -> None:
    """What JSON can express comes back equal: all of Unicode, long integers, nested mappings."""
    assert payload_of(Anything(data=data, note=note)) == {"data": data, "note": note}


@given(data=st.lists(st.floats() | st.lists(st.floats()) | st.dictionaries(st.text("ab"), st.floats())))
def test_no_float_turns_into_another_value(data: Any) -> None:
    """Any mixture of floats is either refused or comes back equal: never null for NaN."""
    try:
        written = payload_of(Anything(data=data))
    except SerializationError:
        assert "nan" in repr(data) or "inf" in repr(data)
    else:
        assert written["data"] == data
