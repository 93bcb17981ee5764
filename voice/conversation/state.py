"""The state of one conversation.

Invariant: only the functions of this package change it, one event at a time; it holds no clock, socket or task.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from voice.conversation.actions import Action
from voice.conversation.brief import CallBrief
from voice.conversation.memory import Memory, ToolCall, ToolRound, Utterance
from voice.conversation.prompting import system_prompt
from voice.conversation.speech import SpeechStream
from voice.conversation.tooling import CheckedCall, Toolbox, offered_tools

SPEECH_MS_PER_CHARACTER = 65
SPEECH_LAG_MS = 500  # from sending a text to hearing it
SPEECH_MARGIN_MS = 5_000  # after its speaking time a text counts as played, whatever was reported
CLIENT_FLAG_MS = 15_000  # a "speaking" flag that nothing renews has stuck
WORDS_MS = 2_000  # from the end of somebody's speech to the words of it


class Timer(StrEnum):
    OPENING = "opening"
    FIRST_CHUNK = "first_chunk"
    STALL = "stall"
    REISSUE = "reissue"
    FILLER = "filler"
    TOOL = "tool"
    SILENCE = "silence"
    REST = "rest"
    DIGITS = "digits"
    HOLD_CHECK = "hold_check"
    HOLD_CAP = "hold_cap"
    PLAYED = "played"
    AGENT_FLAG = "agent_flag"
    CLIENT_FLAG = "client_flag"
    LISTEN = "listen"
    MESSAGE = "message"
    MACHINE = "machine"
    MACHINE_LIMIT = "machine_limit"
    MENU = "menu"
    DRAIN = "drain"
    DEADLINE = "deadline"


class Line(StrEnum):
    """Who seems to be at the other end."""

    UNKNOWN = "unknown"
    PERSON = "person"
    SCREENER = "screener"
    MACHINE = "machine"  # a voicemail: we are mute but for the message
    MENU = "menu"


@dataclass(slots=True)
class Floor:
    """Who is speaking, as far as the relay says."""

    agent: bool = False
    client: bool = False
    has_events: bool = False  # the relay reports speakers in this session
    has_tokens: bool = False  # and played tokens
    client_began_over_us: bool = False


@dataclass(slots=True)
class Turn:
    """One answer to the other side: model requests, tool rounds and what is said."""

    id: int
    stream: SpeechStream
    started_at: int
    prompted_at: int | None = None  # a prompt began it: its latency counts
    note: str | None = None
    source: str = "reply"
    is_silent: bool = False  # the model's words are not spoken
    is_interruptible: bool = True
    may_use_tools: bool = True
    is_active: bool = True
    request_id: int | None = None
    requested_at: int = 0
    model_ms: int = 0
    attempts: int = 0  # of the current request
    rounds: int = 0
    has_chunk: bool = False  # the current request has produced something useful
    has_spoken: bool = False
    said_filler: bool = False
    characters: int = 0
    utterance: Utterance | None = None
    calls: list[ToolCall] = field(default_factory=list)
    waiting: set[str] = field(default_factory=set)  # call ids without a result
    asks_again: bool = False  # a follow-up inference is due once nothing is waited for
    tool_round: ToolRound | None = None


@dataclass(slots=True)
class ToolRun:
    """A customer's tool under way, and every call of the model that waits for it."""

    call: CheckedCall
    turn: int
    sequence_no: int
    started_at: int
    deadline: int
    attempt: int = 1
    waiters: list[tuple[ToolRound, str]] = field(default_factory=list)


@dataclass(slots=True)
class Ending:
    """A goodbye (or an announcement, or a message) under way, after which the session ends."""

    handoff: Mapping[str, str]
    utterance: Utterance | None
    listen_ms: int
    is_listening: bool = False
    can_be_reprieved: bool = False
    is_message: bool = False

    @property
    def is_transfer(self) -> bool:
        return self.handoff["reason"] == "transfer"


@dataclass(slots=True)
class Rest:
    """What an interruption left unheard, to be said if nobody wanted to speak after all."""

    text: str
    is_complete: bool  # the model had finished: nothing but this was to be said


@dataclass(slots=True)
class Conversation:
    brief: CallBrief
    system: str
    toolbox: Toolbox
    memory: Memory = field(default_factory=Memory)
    actions: list[Action] = field(default_factory=list)  # of the event under way
    timers: dict[Timer, int] = field(default_factory=dict)
    floor: Floor = field(default_factory=Floor)
    queue: list[Utterance] = field(default_factory=list)  # sent or being sent, not yet played
    last_guessed: Utterance | None = None  # counted as played by the clock alone
    speech_end: int = 0
    turn: Turn | None = None
    runs: dict[int, ToolRun] = field(default_factory=dict)
    ending: Ending | None = None
    rest: Rest | None = None
    line: Line = Line.UNKNOWN
    next_sequence_no: int = 0
    next_id: int = 1
    is_connected: bool = False
    is_over: bool = False
    opened_at: int = 0
    is_greeted: bool = False
    is_holding: bool = False
    was_reprieved: bool = False
    has_replied: bool = False  # a model's answer was spoken: fillers may follow
    last_filler_at: int | None = None
    filler_count: int = 0
    quiet_since: int = 0  # our voice's last end
    silences: int = 0
    bad_turns: int = 0
    digits: str = ""
    key_pressed_at: int | None = None  # its interrupt is still to come
    key_sequence_no: int = 0  # and hits only utterances before this one
    asked_sequence_no: int = 0  # utterances from here on read back what is to be confirmed
    last_prompt: str = ""
    may_be_too_long: bool = False  # the memory has grown since it was last measured
    screener_answered_at: int | None = None
    recent_prompts: list[str] = field(default_factory=list)  # the last three
    loops: int = 0
    person_turns: int = 0
    client_began_at: int | None = None
    client_ended_at: int | None = None  # speech whose words have not come yet
    language: str = ""
    verdict: str | None = None
    machine_at: int | None = None  # when a machine verdict came
    message_from_start: bool = False  # the message was begun after the machine's greeting ended
    hears_voicemail: bool = False
    screener_rounds: int = 0
    menu_text: str = ""
    menu_last: str = ""
    menu_keys: str = ""
    menu_attempt: int = 1
    drain_deadline: int | None = None
    summary_request: tuple[int, int] | None = None  # request id, entries it will replace
    summary_text: str = ""

    @property
    def next_wake_ms(self) -> int | None:
        """When `TimerFired` is due, in the clock of `advance`; None when nothing is waited for."""
        return min(self.timers.values(), default=None)

    @property
    def active_turn(self) -> Turn | None:
        return self.turn if self.turn is not None and self.turn.is_active else None

    @property
    def may_meet_beep(self) -> bool:
        """A mailbox may be listening in which a message is to be left: what we say to it gives way to that, so that
        nothing of it is recorded before the message."""
        return self.brief.leaves_message and self.line is Line.UNKNOWN and self.verdict is None

    def hears_somebody(self, now: int) -> bool:
        """The other side speaks, or has just spoken and its words are still to come."""
        ended = self.client_ended_at
        return self.floor.client or (ended is not None and now - ended < WORDS_MS)

    def do(self, action: Action) -> None:
        self.actions.append(action)

    def wake(self, timer: Timer, at: int) -> None:
        self.timers[timer] = at

    def calm(self, *timers: Timer) -> None:
        for timer in timers:
            self.timers.pop(timer, None)

    def take_id(self) -> int:
        taken = self.next_id
        self.next_id += 1
        return taken

    def take_sequence_no(self) -> int:
        taken = self.next_sequence_no
        self.next_sequence_no += 1
        return taken


def new_conversation(brief: CallBrief) -> Conversation:
    """A conversation before its socket. Build it while the telephone rings: the prompt is rendered here."""
    toolbox = Toolbox(brief.call_id, offered_tools(brief))
    return Conversation(brief, system_prompt(brief), toolbox, language=brief.language)
