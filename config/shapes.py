"""What the shapes of all answers are made of.

Invariant: a shape is closed (an answer with a field more or less is not of it) and says so in the description; the
suite holds every answer that it gets against its shape.
"""

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Item = TypeVar("Item")

Moment = Annotated[
    str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$", examples=["2026-11-23T19:24:00.000Z"])
]
"""ISO 8601 in UTC, with milliseconds."""
Id = Annotated[str, Field(examples=["0198f3c2-5a61-7d3c-8f0e-2b1a4c5d6e7f"])]
E164 = Annotated[str, Field(examples=["+14155550123"])]


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", defer_build=True)  # needed for the description alone


class Page(Shape, Generic[Item]):
    """Newest first; `has_more` in the direction that was asked for."""

    data: list[Item]
    has_more: bool

    @classmethod
    def model_parametrized_name(cls, params: tuple[Any, ...]) -> str:
        return f"{params[0].__name__}Page"


class Everything(Shape, Generic[Item]):
    """All there are; this list has no pages."""

    data: list[Item]

    @classmethod
    def model_parametrized_name(cls, params: tuple[Any, ...]) -> str:
        return f"Every{params[0].__name__}"


class Nothing(Shape):
    """`{}`: it is done, and nothing is left to show."""


class Health(Shape):
    status: Literal["ok"]


class Unwell(Shape):
    """`reason`: what is missing, for the operator."""

    status: Literal["unavailable"]
    reason: Annotated[str, Field(examples=["the database cannot be reached"])]
