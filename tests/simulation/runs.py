"""What many worlds come to."""

from collections import Counter
from dataclasses import dataclass, field

from tests.simulation.world import Report

CALLS = 10
"""In a world; small ones find as much for the same time, and are easier to read."""


@dataclass
class Totals:
    worlds: int = 0
    calls: int = 0
    doubtful: int = 0
    virtual_hours: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    deaths: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, report: Report) -> None:
        self.worlds += 1
        self.calls += report.calls
        self.doubtful += report.doubtful
        self.virtual_hours += report.virtual_seconds / 3600
        self.faults += report.faults
        self.deaths += report.deaths
        self.reasons += report.reasons

    def __str__(self) -> str:
        def table(counts: Counter[str]) -> str:
            return "\n".join(f"  {count:>8} {name}" for name, count in counts.most_common())

        return (
            f"{self.worlds} worlds, {self.calls} calls in {self.virtual_hours:.0f} virtual hours, "
            f"{self.faults.total()} faults; {self.doubtful} calls of which more than one charge was allowed\n"
            f"what went wrong:\n{table(self.faults)}\n"
            f"where processes died:\n{table(self.deaths)}\n"
            f"how calls ended:\n{table(self.reasons)}"
        )


def replay_command(seed: int, calls: int) -> str:
    return f"python -m tests.simulation --from {seed} --calls {calls}"
