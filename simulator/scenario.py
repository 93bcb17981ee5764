"""Scenario files: who answers how, and which faults, in YAML.

    seed: 7                       # of every die; the same file then plays the same way
    speed: 20                     # virtual seconds in a real one
    faults: {callback_lost: 0.2, create_error_made: 0.05}
    callees:
      +14155550123: busy          # a preset's name, or one with changes:
      +14155550124: {outcome: human, talk_seconds: 30, says: ["Yes, Tuesday is fine."]}
      default: voicemail          # all others

Invariant: a file is understood as a whole or refused with the place that is wrong; nothing in it is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml

from simulator import scripts
from simulator.faults import FaultPlan

LARGEST_FILE_BYTES = 256 * 1024
_E164 = re.compile(r"\+[1-9]\d{1,14}")


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a file says. `seed` and `speed` None: it does not say."""

    seed: int | None = None
    speed: Annotated[float, msgspec.Meta(gt=0, le=10_000)] | None = None
    faults: FaultPlan = FaultPlan()
    callees: dict[str, scripts.Script] = {}


def read(path: Path) -> Scenario:
    """Raises OSError, and ValueError with a line that names the file and what is wrong."""
    with path.open("rb") as file:
        text = file.read(LARGEST_FILE_BYTES + 1)
    if len(text) > LARGEST_FILE_BYTES:
        raise ValueError(f"{path}: a scenario has at most {LARGEST_FILE_BYTES} bytes")
    try:
        return parse(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from None


def parse(data: Any) -> Scenario:
    """From what YAML gives. Raises ValueError."""
    if data is None:
        return Scenario()
    if not isinstance(data, dict):
        raise ValueError("a scenario is a mapping of seed, speed, faults, callees")
    callees = data.get("callees") or {}
    if not isinstance(callees, dict):
        raise ValueError("callees is a mapping from numbers to what they do")
    found = msgspec.convert({**data, "faults": data.get("faults") or {}, "callees": {}}, Scenario)
    return msgspec.structs.replace(found, callees=_callees(callees))


def _callees(given: Mapping[Any, Any]) -> dict[str, scripts.Script]:
    found: dict[str, scripts.Script] = {}
    for key, body in given.items():
        name = f"+{key}" if type(key) is int else str(key)  # YAML reads +14155550123 as a number
        if name != "default" and not _E164.fullmatch(name):
            raise ValueError(f"callees: {name} is neither a number in E.164 nor default")
        try:
            found[name] = scripts.parse({"outcome": body} if isinstance(body, str) else body)
        except ValueError as error:
            raise ValueError(f"callees: {name}: {error}") from None
    return found
