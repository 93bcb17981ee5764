"""Reading requests, the same way at every edge."""

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from config.errors import ApiError
from config.http import as_model


class Order(BaseModel, extra="forbid"):
    to: str
    pieces: int = Field(1, ge=1)
    code: Annotated[str, Field(pattern="^[a-z]{3}$", max_length=3)] = "abc"
    notes: dict[str, str] = Field(default_factory=dict)
    lines: list[str] = Field(default_factory=list)
    is_gift: bool = False


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        ({}, "`to`: is required."),
        ({"to": 5}, "`to`: must be a text."),
        ({"to": "a", "pieces": "x"}, "`pieces`: must be a whole number."),
        ({"to": "a", "pieces": 1.5}, "`pieces`: must be a whole number."),
        ({"to": "a", "pieces": 0}, "`pieces`: must be greater than or equal to 1."),
        ({"to": "a", "code": "A"}, "`code`: is not of the right form."),
        ({"to": "a", "code": "abcd"}, "`code`: must have at most 3 characters."),
        ({"to": "a", "notes": []}, "`notes`: must be a JSON object."),
        ({"to": "a", "lines": "x"}, "`lines`: must be a list."),
        ({"to": "a", "is_gift": "perhaps"}, "`is_gift`: must be true or false."),
        ({"to": "a", "colour": "red"}, "`colour`: unknown field."),
        ({"too": "a"}, "`too`: unknown field; is `to` meant?"),
        ({"to": "a", "peices": 2}, "`peices`: unknown field; is `pieces` meant?"),
        (["to"], "The body must be a JSON object."),
    ],
)
def test_what_is_wrong_is_said_in_words_of_the_wire(sent: Any, sentence: str) -> None:
    with pytest.raises(ApiError) as refused:
        as_model(Order, sent)
    assert refused.value.message == sentence
