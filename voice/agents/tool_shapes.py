"""The shapes of tools and of results, as customers send them.

Invariant: what passes here can be shown to a model and checked against its arguments without further care: names,
depth and size are limited, and a schema has only keywords that cost nothing to check (no patterns, no references).

    {"type": "http", "name", "description", "policy", "url", "parameters", "headers"?, "timeout_ms"?}
    {"type": "builtin", "name", "description", "policy", "builtin", "parameters", "config"?}
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    StringConstraints,
    model_validator,
)

from config.egress import Refused, check_url
from config.errors import invalid

MOST_TOOLS = 16
MOST_PROPERTIES = 64
DEEPEST_SCHEMA = 6
LONGEST_DESCRIPTION = 2_000
BUILTINS = (
    "end_call",
    "transfer_call",
    "send_dtmf",
    "press_keys",
    "leave_voicemail",
    "wait",
    "do_not_call",
)
_RESERVED_HEADERS = {"host", "content-length", "content-type", "transfer-encoding", "connection", "idempotency-key"}
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_HEADER_VALUE = re.compile(r"[\x20-\x7e\x80-\xff]{0,1000}")

Name = Annotated[StrictStr, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Description = Annotated[StrictStr, StringConstraints(max_length=LONGEST_DESCRIPTION)]
Policy = Literal["read", "confirm_first_write"]
TypeName = Literal["string", "number", "integer", "boolean", "object", "array", "null"]
Returns = Annotated[
    dict[
        Annotated[StrictStr, StringConstraints(pattern=r"^[^\x00-\x1f]{1,64}$")], Literal["boolean", "string", "number"]
    ],
    Field(max_length=50),
]
"""What to find out in a call: a flat map of field to type."""


class Schema(BaseModel, extra="forbid"):
    """JSON Schema, cut down to what describes arguments. A value that may be missing is `[type, "null"]`."""

    type: TypeName | Annotated[list[TypeName], Field(min_length=1, max_length=3)]
    description: Description | None = None
    properties: dict[Name, "Schema"] | None = Field(None, max_length=MOST_PROPERTIES)
    required: list[StrictStr] | None = Field(None, max_length=MOST_PROPERTIES)
    additionalProperties: Literal[False] | None = None  # the keyword's own spelling
    items: "Schema | None" = None
    enum: list[StrictStr | StrictInt | float | StrictBool | None] | None = Field(None, min_length=1, max_length=100)

    @model_validator(mode="after")
    def _names_what_it_requires(self) -> "Schema":
        unknown = set(self.required or ()) - (self.properties or {}).keys()
        if unknown:
            raise ValueError(f"required names {min(unknown)[:64]!r}, which is not among the properties")
        return self

    @property
    def depth(self) -> int:
        nested = [*(self.properties or {}).values(), *([self.items] if self.items else [])]
        return 1 + max((schema.depth for schema in nested), default=0)


def _nothing() -> Schema:
    return Schema(type="object", properties={}, required=[], additionalProperties=False)


class _Tool(BaseModel, extra="forbid"):
    name: Name
    description: Description = ""
    policy: Policy = "read"
    parameters: Schema = Field(default_factory=_nothing)

    @model_validator(mode="after")
    def _takes_an_object(self) -> "_Tool":
        if self.parameters.type != "object":
            raise ValueError("parameters must be a schema of type object")
        if self.parameters.depth > DEEPEST_SCHEMA:
            raise ValueError(f"parameters are nested more than {DEEPEST_SCHEMA} levels deep")
        return self


class HttpTool(_Tool):
    """We POST the arguments as JSON to `url`; `headers` are the customer's own authentication."""

    type: Literal["http"]
    url: StrictStr
    headers: dict[StrictStr, StrictStr] | None = Field(None, max_length=20)
    timeout_ms: StrictInt | None = Field(None, ge=100, le=30_000)

    @model_validator(mode="after")
    def _sendable_headers(self) -> "HttpTool":
        for name, value in (self.headers or {}).items():
            if not _HEADER_NAME.fullmatch(name) or name.lower() in _RESERVED_HEADERS:
                raise ValueError(f"headers must not name {name[:64]!r}")
            if not _HEADER_VALUE.fullmatch(value):
                raise ValueError(f"headers must have a printable value of at most 1000 characters for {name!r}")
        return self


class BuiltinTool(_Tool):
    """Something we do ourselves; `builtin` defaults to the name."""

    type: Literal["builtin"]
    builtin: StrictStr = ""
    config: dict[StrictStr, Any] | None = Field(None, max_length=20)

    @model_validator(mode="after")
    def _known(self) -> "BuiltinTool":
        self.builtin = self.builtin or self.name
        if self.builtin not in BUILTINS:
            raise ValueError(f"builtin must be one of {', '.join(BUILTINS)}")
        return self


def _distinct(tools: "list[HttpTool | BuiltinTool]") -> "list[HttpTool | BuiltinTool]":
    if len({tool.name for tool in tools}) != len(tools):
        raise ValueError("every tool needs a name of its own")
    return tools


Tool = Annotated[HttpTool | BuiltinTool, Field(discriminator="type")]
TOOL_EXAMPLE = {
    "type": "http",
    "name": "find_slots",
    "description": "Free times on a day.",
    "policy": "read",
    "url": "https://example.com/slots",
    "parameters": {"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]},
}
Tools = Annotated[list[Tool], Field(max_length=MOST_TOOLS, examples=[[TOOL_EXAMPLE]]), AfterValidator(_distinct)]


def tools_as_kept(tools: "list[HttpTool | BuiltinTool] | None") -> list[dict[str, Any]] | None:
    """As they are stored and shown: the keys above, defaults filled in, optional ones only where given."""
    return None if tools is None else [tool.model_dump(exclude_none=True) for tool in tools]


def check_addresses(webhook_url: str | None, tools: Sequence[Mapping[str, Any]] | None, *, allow_private: bool) -> None:
    """Refuse addresses that we would not call. Raises ApiError 400 with the field."""
    addresses = [("webhook_url", webhook_url)] if webhook_url is not None else []
    addresses += [(f"tools.{at}.url", tool["url"]) for at, tool in enumerate(tools or ()) if tool["type"] == "http"]
    for field, address in addresses:
        try:
            check_url(address, allow_private)
        except Refused as refusal:
            raise invalid(field, f"`{field}`: {refusal}", "invalid_url") from None
