"""What a measurement gives, and how all of them are shown.

Invariant: no figure stands alone; each has at least one reference beside it, and an aim is a ratio to one of those.
"""

import importlib.metadata
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

PACKAGES = ("sqlalchemy", "aiosqlite", "asyncpg", "quart", "hypercorn", "uvloop")


class Aim(NamedTuple):
    """What the ratio to a reference is meant to be; where `least` is false, at most."""

    ratio: float
    least: bool = True

    def met(self, ratio: float) -> bool:
        return ratio >= self.ratio if self.least else ratio <= self.ratio

    def __str__(self) -> str:
        return f"{'>=' if self.least else '<='} {self.ratio:.2f}"


@dataclass(frozen=True, slots=True)
class Result:
    """The figure of `what`, the same of each reference, and of some references the aim."""

    what: str
    figure: float
    references: Mapping[str, float]
    unit: str = "a second"
    aims: Mapping[str, Aim] = field(default_factory=dict)

    def ratio(self, reference: str) -> float:
        return self.figure / self.references[reference]


Measurement = Callable[[bool], Sequence[Result]]


def machine() -> dict[str, Any]:
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "processors": os.cpu_count(),
        "load_average": [round(each, 1) for each in os.getloadavg()],
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def as_json(results: Sequence[Result], about: Mapping[str, Any]) -> dict[str, Any]:
    def one(result: Result) -> dict[str, Any]:
        ratios = {name: result.ratio(name) for name in result.references}
        met = {name: aim.met(ratios[name]) for name, aim in result.aims.items()}
        aims = {name: aim._asdict() for name, aim in result.aims.items()}
        return {**asdict(result), "aims": aims, "ratios": ratios, "met": met}

    return {"machine": about, "results": [one(result) for result in results]}


def as_table(results: Sequence[Result], about: Mapping[str, Any]) -> str:
    """One row for each figure and reference, under the machine it was measured on as it was before."""
    head = ("measured", "figure", "unit", "reference", "figure", "ratio", "aim", "met")
    rows: list[tuple[str, ...]] = []
    for result in results:
        first = (result.what, _number(result.figure), result.unit)
        for name, reference in result.references.items():
            aim = result.aims.get(name)
            judged = ("", "") if aim is None else (str(aim), "yes" if aim.met(result.ratio(name)) else "NO")
            rows.append((*first, name, _number(reference), f"{result.ratio(name):.2f}", *judged))
            first = ("", "", "")
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    sides = "<><<>><<"

    def line(row: Sequence[str]) -> str:
        return "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)).rstrip()

    title = f"{about['processor']}, {about['processors']} processors, {about['system']}, Python {about['python']}"
    load = f"load average before: {', '.join(map(str, about['load_average']))}"
    versions = ", ".join(f"{name} {about[name]}" for name in PACKAGES)
    return "\n".join([title, versions, load, "", line(head), line(["-" * width for width in widths]), *map(line, rows)])


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
