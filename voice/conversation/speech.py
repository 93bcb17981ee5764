"""Make a model's text fit for a voice while it streams: no markdown, emoji, URLs or markers; money, dates,
phone numbers and times in speakable words.

Invariant: what `feed` and `finish` return, joined, is exactly what is sent, played and remembered, so that the
cursor of heard.py and the history agree. A piece ends at a word's end and holds no half of a construct.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass

HOLD_LIMIT_CHARACTERS = 200  # an opener that is not closed by then was no construct

_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_MARKER = re.compile(r"\[[^\]]*\]|</?[A-Za-z!][^>]*>|```[^`]*```")
_URL = re.compile(r"(?:https?://|www\.)[^\s<>]*[^\s<>.,!?;:)\]]", re.IGNORECASE)
_EMPHASIS = re.compile(r"\*+|`+|~~|(?<!\w)_+|_+(?!\w)")
_LINE_START = re.compile(r"^[ \t]*(?:#{1,6}|[-•–+]|>)(?:[ \t]+|$)", re.MULTILINE)
_LINE_END = re.compile(r"(?<=[^\W_])[ \t]*\n+\s*")
_SYMBOLS = re.compile(
    "[\U0001f000-\U0001faff\u2190-\u21ff\u2300-\u23ff\u25a0-\u27bf\u2b00-\u2bff\ufe0f\u200b-\u200d\u20e3\U000e0020-\U000e007f]"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_SPACES = re.compile(r"\s+")

_WORD_END = re.compile(r"(?=\s+\S*$)|(?<=[^\W\d_]{2}[,!?;])$")
# A run of words with digits, or a short month before its day, may go on in the next delta ("$5" + " million").
_OPEN_NUMBER = re.compile(
    r"(?:(?:(?<=\s)|^)(?:\S*[\d$€£]\S*|(?:jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)\.?)(?:\s+|$))+$",
    re.IGNORECASE,
)
_OPENERS = ((re.compile(r"\["), "]"), (re.compile(r"<(?=[A-Za-z/!]|$)"), ">"), (re.compile(r"```"), "```"))


class SpeechStream:
    """Turns a model's deltas into pieces to send."""

    def __init__(self, language: str) -> None:
        self._language = language
        self._pending = ""
        self._last = ""  # the last character sent

    def feed(self, delta: str) -> str:
        """Text that may be sent now, at most once per delta; empty while it must wait."""
        self._pending += delta
        end = _safe_end(self._pending)
        ready, self._pending = self._pending[:end], self._pending[end:]
        return self._prepare(ready)

    def finish(self) -> str:
        """What was held back, when nothing more comes."""
        ready, self._pending = self._pending, ""
        return self._prepare(ready)

    def _prepare(self, raw: str) -> str:
        raw = _CONTROLS.sub("", raw)
        if not raw:
            return ""
        # What was sent before tells a list item from a dash, and a line's end from an empty line.
        before = "" if not self._last else ("a" if self._last.isalnum() else "\x00")
        text = strip_markup(before + raw)[len(before) :]
        # The space before a word goes with that word, so that a sign can follow closely.
        text = speakable(text, self._language).rstrip()
        if not self._last:
            text = text.lstrip()
        self._last = text[-1:] or self._last
        return text


def _safe_end(text: str) -> int:
    """The longest prefix that ends with a word and in no open construct."""
    if len(text) > 2 * HOLD_LIMIT_CHARACTERS:
        return len(text)
    ends = [match.end() for match in _WORD_END.finditer(text)]
    if not ends:
        return 0
    end = ends[-1]
    if number := _OPEN_NUMBER.search(text[:end]):
        end = number.start()
    for opener, closer in _OPENERS:
        position = 0
        while found := opener.search(text[:end], position):
            closed = text.find(closer, found.end(), end)
            if closed < 0:
                if len(text) - found.start() <= HOLD_LIMIT_CHARACTERS:
                    end = found.start()
                break
            position = closed + len(closer)
    return len(text[:end].rstrip())


def strip_markup(text: str) -> str:
    """Plain text: links keep their words; markers, tags, emphasis, bullets, URLs and pictures vanish."""
    text = _MARKER.sub("", _LINK.sub(r"\1", text))
    text = _LINE_START.sub("", _URL.sub("", text))
    text = _LINE_END.sub(". ", _SYMBOLS.sub("", _EMPHASIS.sub("", text)))
    text = _SPACES.sub(" ", unicodedata.normalize("NFKC", text))
    return re.sub(r" +(?=[.,!?;](?:\s|$))", "", text)


@dataclass(frozen=True, slots=True)
class _Words:
    """How one language says what digits and signs abbreviate."""

    months: tuple[str, ...]
    date: Callable[[str, int, int], str]  # month's name, day, year
    day_first: bool
    money: Mapping[str, tuple[str, str, str, str]]  # sign → one, many, one cent, many cents
    money_join: str
    scales: Mapping[str, str]  # k, m, b behind an amount
    scale_join: str  # between "million" and the currency
    to: str  # between the ends of a range
    per: Callable[[str], str]  # a unit behind a slash
    percent: str
    ampersand: str
    at: str  # before a time
    in_address: tuple[str, str]  # @ and . in an e-mail address
    twelve_hours: bool


def _names(names: str) -> tuple[str, ...]:
    return tuple(names.split())


_UNITS = {"mo": "month", "yr": "year", "wk": "week", "hr": "hour", "min": "minute"}
_ENGLISH = _Words(
    months=_names("January February March April May June July August September October November December"),
    date=lambda month, day, year: f"{month} {day}, {year}",
    day_first=False,
    money={
        "$": ("dollar", "dollars", "cent", "cents"),
        "€": ("euro", "euros", "cent", "cents"),
        "£": ("pound", "pounds", "penny", "pence"),
    },
    money_join=" and ",
    scales={"k": "thousand", "m": "million", "b": "billion"},
    scale_join=" ",
    to="to",
    per=lambda unit: f"per {_UNITS.get(unit, unit)}",
    percent="percent",
    ampersand="and",
    at="at",
    in_address=("at", "dot"),
    twelve_hours=True,
)
_SPANISH = _Words(
    months=_names("enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre"),
    date=lambda month, day, year: f"{day} de {month} de {year}",
    day_first=True,
    money={
        "$": ("dólar", "dólares", "centavo", "centavos"),
        "€": ("euro", "euros", "céntimo", "céntimos"),
        "£": ("libra", "libras", "penique", "peniques"),
    },
    money_join=" con ",
    scales={"k": "mil", "m": "millones", "b": "mil millones"},
    scale_join=" de ",
    to="a",
    per=lambda unit: f"{'al' if unit in ('mes', 'año', 'día') else 'por'} {unit}",
    percent="por ciento",
    ampersand="y",
    at="a las",
    in_address=("arroba", "punto"),
    twelve_hours=False,
)

_EMAIL = re.compile(r"\b([\w.+-]+)@([\w-]+(?:\.[\w-]+)+)\b")
_ISO_DATE = re.compile(r"\b(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}:\d{2})(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?\b")
_SLASH_DATE = re.compile(r"(?<![\d/])(\d{1,2})/(\d{1,2})/(\d{4})(?![\d/])")
_SHORT_MONTH = re.compile(r"\b(Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\b\.?(?=\s+\d)")
_PHONE = re.compile(r"(?<![\w.,])(?:\+?1[ .-]?)?\(?(\d{3})\)?[ .-]?(\d{3})[ .-]?(\d{4})(?!\d)")
_LONG_NUMBER = re.compile(r"(?<![\w.,$€£])\+?(\d{7,})(?![\d])")
_MONEY_RANGE = re.compile(r"([$€£])\s?(\d(?:[\d,.]*\d)?)\s?[-–—]\s?\1?(?=\d)")
_MONEY = re.compile(
    r"([$€£])\s?(\d[\d,]*)(?:\.(\d{1,2}))?(?!\d)"
    r"(?:([kKmMbB])\b|\s(thousand|million|billion|mil|millones|millón)\b)?(?:/([^\W\d]+))?"
)
_TIME = re.compile(r"(?<![\d:])([01]?\d|2[0-3]):([0-5]\d)(?::[0-5]\d)?(?![\d:])(?:\s?([AaPp])(?:\.[Mm]\.|[Mm]\b))?")


def speakable(text: str, language: str) -> str:
    """Replace what a voice without text normalisation reads badly. Unknown languages get English rules."""
    words = _SPANISH if language.lower().startswith("es") else _ENGLISH
    at, dot = words.in_address
    text = _EMAIL.sub(lambda m: f"{m[1].replace('.', f' {dot} ')} {at} {m[2].replace('.', f' {dot} ')}", text)
    text = _ISO_DATE.sub(lambda m: _say_iso_date(m, words), text)
    text = _SLASH_DATE.sub(lambda m: _say_slash_date(m, words), text)
    if not words.day_first:
        text = _SHORT_MONTH.sub(lambda m: next(x for x in words.months if x.startswith(m[1][:3])), text)
    text = _PHONE.sub(lambda m: ", ".join(" ".join(group) for group in m.groups()), text)
    text = _LONG_NUMBER.sub(lambda m: _say_digits(m[1]), text)
    text = _MONEY_RANGE.sub(lambda m: f"{m[2]} {words.to} {m[1]}", text)
    text = _MONEY.sub(lambda m: _say_money(m, words), text)
    text = _TIME.sub(lambda m: _say_time(m, words), text)
    text = re.sub(r"(?<=\d)\s?%", f" {words.percent}", text)
    return re.sub(r"(?<!\S)&(?!\S)", words.ampersand, text)


def _say_digits(digits: str) -> str:
    return ", ".join(" ".join(digits[index : index + 3]) for index in range(0, len(digits), 3))


def _say_iso_date(match: re.Match[str], words: _Words) -> str:
    year, month, day, time = match[1], int(match[2]), int(match[3]), match[4]
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return match[0]
    spoken = words.date(words.months[month - 1], day, int(year))
    return f"{spoken} {words.at} {time}" if time else spoken


def _say_slash_date(match: re.Match[str], words: _Words) -> str:
    first, second = int(match[1]), int(match[2])
    day, month = (first, second) if words.day_first else (second, first)
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return match[0]
    return words.date(words.months[month - 1], day, int(match[3]))


def _say_money(match: re.Match[str], words: _Words) -> str:
    sign, whole, fraction, letter, scale, unit = match.groups()
    whole = whole.rstrip(",")
    tail = match[2][len(whole) :]  # a comma of the sentence, not of the amount
    if unit:
        tail += f" {words.per(unit)}"
    if letter:
        scale = words.scales[letter.lower()]
    one, many, cent, cents = words.money[sign]
    whole = whole.replace(",", "")
    if scale:
        amount = f"{whole}.{fraction}" if fraction else whole
        join = " " if scale == "mil" else words.scale_join
        return f"{amount} {scale}{join}{many}{tail}"
    small = int(fraction.ljust(2, "0")) if fraction else 0
    parts = [f"{int(whole)} {one if int(whole) == 1 else many}"] if int(whole) or not small else []
    if small:
        parts.append(f"{small} {cent if small == 1 else cents}")
    return words.money_join.join(parts) + tail


def _say_time(match: re.Match[str], words: _Words) -> str:
    hour, minute, half = int(match[1]), match[2], match[3]
    if not words.twelve_hours:
        return match[0]
    if not half and 1 <= hour <= 12 and not match[1].startswith("0"):
        return match[0]  # "9:05" may be either half of the day
    suffix = f"{half.upper()}M" if half else ("AM" if hour < 12 else "PM")
    rest = match.string[match.end() :].lstrip()
    end = "." if match[0].endswith(".") and (not rest or rest[0].isupper()) else ""
    hour = hour % 12 or 12
    return f"{hour} {suffix}{end}" if minute == "00" else f"{hour}:{minute} {suffix}{end}"
