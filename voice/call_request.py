"""What a request for calls may say: one call, or what all calls of a batch have in common.

Invariant: whatever becomes a `Wanted` was checked here, by the rules of its generation.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StrictInt, StrictStr, StringConstraints, field_validator

from billing.rating import LONGEST_MAXIMUM_SECONDS, SHORTEST_MAXIMUM_SECONDS
from config.egress import LONGEST_URL
from config.errors import invalid
from config.http import as_model
from voice.agents.service import Id
from voice.agents.tool_shapes import Returns, Tools, check_addresses, tools_as_kept
from voice.service import Wanted

DEFAULT_PROMPT = "Hello from CallingBox."
LONGEST_PROMPT, LONGEST_OBJECT = 20_000, 50
NOT_WITH_AGENT = ("prompt", "persona", "voice", "language", "returns", "tools", "voicemail_action")
ONLY_WITH_AGENT = ("instructions", "persona", "voice")
Text = Annotated[StrictStr, StringConstraints(max_length=LONGEST_PROMPT)]
Language = Annotated[StrictStr, StringConstraints(pattern=r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,3}$")]


class CallTerms(BaseModel, extra="forbid"):
    """How to call, whomever. With `agent_id` an outbound agent calls, from its primary number or another of its own,
    and what is in NOT_WITH_AGENT is not accepted. Without it the call says itself what to do, and the oldest active
    number calls."""

    agent_id: Id | None = None
    instructions: Text | None = None
    prompt: Text = DEFAULT_PROMPT
    returns: Returns = Field(default_factory=dict)
    language: Language = "en"
    from_number: StrictStr | None = Field(None, max_length=32)
    webhook_url: Annotated[StrictStr, StringConstraints(max_length=LONGEST_URL)] | None = None
    voicemail_action: Literal["hangup", "leave_message"] = "hangup"
    tools: Tools | None = None
    metadata: dict[str, Any] = Field(default_factory=dict, max_length=LONGEST_OBJECT)
    max_duration_seconds: StrictInt | None = Field(None, ge=SHORTEST_MAXIMUM_SECONDS, le=LONGEST_MAXIMUM_SECONDS)

    @field_validator("prompt")
    @classmethod
    def _says_something(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("must not be blank")
        return value

    def wanted_call(self, to: str, context: Mapping[str, Any], key_id: str | None, allow_private: bool) -> Wanted:
        """Raises ApiError for addresses that we would not call."""
        own = {"api_key_id": key_id, "context": dict(context), "metadata": self.metadata}
        with_agent = {"instructions": self.instructions}
        asked: dict[str, Any] = self._without_agent() if self.agent_id is None else with_agent
        check_addresses(self.webhook_url, asked.get("tools"), allow_private=allow_private)
        return Wanted(
            to_number=to,
            from_number=self.from_number,
            max_duration_seconds=self.max_duration_seconds,
            snapshot={**own, "webhook_url": self.webhook_url, **asked},
            agent_id=self.agent_id,
        )

    def _without_agent(self) -> dict[str, Any]:
        shown = {name: getattr(self, name) for name in ("prompt", "language", "returns", "voicemail_action")}
        result_status = "pending" if self.returns else "skipped"
        return {**shown, "tools": tools_as_kept(self.tools), "result_status": result_status}


EXAMPLE = {
    "to": "+14155550130",
    "prompt": "Ask whether Tuesday at ten suits.",
    "returns": {"suits": "boolean"},
    "max_duration_seconds": 600,
}


class CreateCallBody(CallTerms, json_schema_extra={"examples": [EXAMPLE]}):
    """`POST /v1/calls`. `to` and `from_number` are E.164."""

    to: StrictStr = Field(examples=["+14155550123"], max_length=32)
    context: dict[str, Any] = Field(default_factory=dict, max_length=LONGEST_OBJECT)

    def wanted(self, key_id: str | None, allow_private: bool) -> Wanted:
        """Raises ApiError for addresses that we would not call."""
        return self.wanted_call(self.to, self.context, key_id, allow_private)


def call_body(parsed: Any) -> CreateCallBody:
    """The body by the rules of its generation. Raises ApiError with the field that is wrong."""
    check_generation(parsed)
    return as_model(CreateCallBody, parsed)


def check_generation(parsed: Any) -> None:
    """Raises ApiError for what does not go with an agent, or only with one."""
    if isinstance(parsed, dict):
        with_agent = parsed.get("agent_id") is not None
        wrong = next((name for name in (NOT_WITH_AGENT if with_agent else ONLY_WITH_AGENT) if name in parsed), None)
        if wrong is not None and with_agent:
            raise invalid(wrong, f"`{wrong}` is not accepted with `agent_id`: the agent decides it.")
        if wrong is not None:
            raise invalid(wrong, f"`{wrong}` is accepted only with `agent_id`.")
