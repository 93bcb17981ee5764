"""Who may be sent to just now: the places of one process, and who has them. Pure.

Invariant: whoever answers quickly finds a place, however many others hang. A destination has only so many places, and
so has an organisation. Those not known to answer quickly have only so many together, and those that kept us waiting
lately fewer still; the rest is for those known to be quick, who hold none for long.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

AT_ONCE = 500
OF_NOT_QUICK = 350
"""Of all places, for destinations not known to be quick: new ones, and those that are late."""
OF_LATE = 150
"""Of these, for destinations that kept us waiting lately."""
OF_ONE_ORGANISATION = 60
FIRST, OF_ONE_DESTINATION = 2, 20
"""To begin with, and when it answers quickly."""
QUICK_MS = 2_000
MOST_REMEMBERED = 10_000
Kind = Literal["new", "quick", "late"]


class Closed(NamedTuple):
    """For whom there is no place. `only`: nobody but these destinations has one; None: whoever is not named."""

    destinations: list[str]
    organisations: list[str]
    only: list[str] | None


@dataclass(slots=True)
class Places:
    _taken: Counter[str] = field(default_factory=Counter)
    """By destination, as follows by organisation and by kind."""
    _of_organisations: Counter[str] = field(default_factory=Counter)
    _of_kinds: Counter[Kind] = field(default_factory=Counter)
    _known: dict[str, int] = field(default_factory=dict)
    """How many places a quick destination may have; 0: it is late, and has as many as a new one."""

    def free(self) -> int:
        return AT_ONCE - self._of_kinds.total()

    def closed(self) -> Closed:
        full = [name for name, count in self._taken.items() if count >= self._most(name)]
        busy = [name for name, count in self._of_organisations.items() if count >= OF_ONE_ORGANISATION]
        if not self._is_open("new"):
            return Closed(full, busy, list(self._all("quick")))
        if not self._is_open("late"):
            full += self._all("late")
        return Closed(full, busy, None)

    def take(self, destination: str, org_id: str) -> bool:
        """Whether there was a place; then it is taken."""
        if (
            self._taken[destination] >= self._most(destination)
            or self._of_organisations[org_id] >= OF_ONE_ORGANISATION
            or not self._is_open(self._kind(destination))
        ):
            return False
        self._taken[destination] += 1
        self._of_organisations[org_id] += 1
        self._of_kinds[self._kind(destination)] += 1
        return True

    def leave(self, destination: str, org_id: str) -> None:
        self._of_kinds[self._kind(destination)] -= 1
        for counter, name in ((self._taken, destination), (self._of_organisations, org_id)):
            counter[name] -= 1
            if not counter[name]:
                del counter[name]

    def learn(self, destination: str, duration_ms: int) -> None:
        """How long an attempt took, or has taken already. Whoever answers quickly may have twice as many."""
        most = 0 if duration_ms > QUICK_MS else min(2 * self._most(destination), OF_ONE_DESTINATION)
        self._rename(destination, most)
        if len(self._known) > MOST_REMEMBERED:
            self._rename(next(iter(self._known)), None)  # the one heard of longest ago

    def _rename(self, destination: str, most: int | None) -> None:
        """Its places go with it to the kind that it is now."""
        taken = self._taken[destination]
        self._of_kinds[self._kind(destination)] -= taken
        self._known.pop(destination, None)
        if most is not None:
            self._known[destination] = most
        self._of_kinds[self._kind(destination)] += taken

    def _kind(self, destination: str) -> Kind:
        match self._known.get(destination):
            case None:
                return "new"
            case 0:
                return "late"
        return "quick"

    def _most(self, destination: str) -> int:
        return self._known.get(destination) or FIRST

    def _is_open(self, kind: Kind) -> bool:
        late = self._of_kinds["late"]
        if kind == "late" and late >= OF_LATE:
            return False
        return self.free() > 0 and (kind == "quick" or self._of_kinds["new"] + late < OF_NOT_QUICK)

    def _all(self, kind: Kind) -> Iterator[str]:
        return (name for name in self._known if self._kind(name) == kind)
