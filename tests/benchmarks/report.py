"""What a measurement gives, and how all of them are shown.

Invariant: no figure stands alone; each has at least one reference that was measured beside it.
"""

import importlib.metadata
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PACKAGES = ("sqlalchemy", "aiosqlite", "asyncpg", "quart", "hypercorn", "uvloop")


@dataclass(frozen=True, slots=True)
class Result:
    """The figure of `what`, and the same of each reference."""

    what: str
    figure: float
    references: Mapping[str, float]
    unit: str = "a second"


Measurement = Callable[[bool], Sequence[Result]]


def machine() -> dict[str, Any]:
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def as_json(results: Sequence[Result]) -> dict[str, Any]:
    def one(result: Result) -> dict[str, Any]:
        ratios = {name: result.figure / reference for name, reference in result.references.items()}
        return {**asdict(result), "ratios": ratios}

    return {"machine": machine(), "results": [one(result) for result in results]}


def as_table(results: Sequence[Result]) -> str:
    """One row for each figure and reference, under the machine it was measured on."""
    head = ("measured", "figure", "unit", "reference", "figure", "ratio")
    rows: list[tuple[str, ...]] = []
    for result in results:
        first = (result.what, _number(result.figure), result.unit)
        for name, reference in result.references.items():
            rows.append((*first, name, _number(reference), f"{result.figure / reference:.2f}"))
            first = ("", "", "")
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    sides = "<><<>>"

    def line(row: Sequence[str]) -> str:
        return "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)).rstrip()

    about = machine()
    title = f"{about['processor']}, {about['processors']} processors, {about['system']}, Python {about['python']}"
    versions = ", ".join(f"{name} {about[name]}" for name in PACKAGES)
    return "\n".join([title, versions, "", line(head), line(["-" * width for width in widths]), *map(line, rows)])


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
