"""How much of a spoken text has been heard.

Invariant: the cursor only moves forward, and only to text that a report matched letter by letter.

The relay reports our own text per clause with trimmed edges, and on an interruption only the clause that was
being played; both are matched forward from the cursor on letters and digits (NFKC, case folded).
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field


def letters_of(text: str) -> str:
    """The letters and digits alone: what survives any change of spacing, punctuation and case."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(character for character in folded if character.isalnum())


@dataclass(slots=True)
class SpokenText:
    """A text that is being sent to the voice, and the cursor of what it has played."""

    sent: str = ""
    _letters: str = ""
    _ends: list[int] = field(default_factory=list)  # per letter: where it ends in `sent`
    _word_starts: set[int] = field(default_factory=set)  # letters that begin a word
    _cursor: int = 0  # letters known to be played
    _last_report: str = ""

    def add(self, token: str) -> None:
        """Append a token that has just been sent. It must be NFKC already, as speech.py leaves it."""
        offset = len(self.sent)
        inside_word = bool(self.sent) and self.sent[-1].isalnum()
        for index, character in enumerate(token, start=offset + 1):
            letters = letters_of(character)
            if letters and not inside_word:
                self._word_starts.add(len(self._letters))
            inside_word = bool(letters)
            self._letters += letters
            self._ends.extend([index] * len(letters))
        self.sent += token

    def played(self, report: str) -> bool:
        """Move the cursor behind `report`; False and no movement when it is not ahead of the cursor."""
        needle = letters_of(report)
        start = self._find(needle)
        if start is None:
            return False
        self._cursor = start + len(needle)
        self._last_report = needle
        return True

    def interrupted(self, fragment: str) -> None:
        """The clause that was being played when the other side cut in; one already reported adds nothing."""
        needle = letters_of(fragment)
        if not self._last_report.endswith(needle):
            self.played(fragment)

    def _find(self, needle: str) -> int | None:
        start = self._letters.find(needle, self._cursor) if needle else -1
        while start >= 0:
            if start == self._cursor or start in self._word_starts:
                return start
            start = self._letters.find(needle, start + 1)
        return None

    @property
    def is_finished(self) -> bool:
        return self._cursor == len(self._letters)

    @property
    def heard(self) -> str:
        return self.sent[: self._split].strip()

    @property
    def unheard(self) -> str:
        return self.sent[self._split :].strip()

    @property
    def _split(self) -> int:
        """The cursor in `sent`, behind the punctuation that follows the last heard letter."""
        if self._cursor == 0:
            return 0
        end = self._ends[self._cursor - 1]
        while end < len(self.sent) and not self.sent[end].isalnum() and not self.sent[end].isspace():
            end += 1
        return end
