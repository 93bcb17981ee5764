"""`python -m tests.benchmarks [--quick] [--json FILE] [NAME ...]`: run the measurements, print one table."""

import argparse
import json
import sys
import time
from pathlib import Path

from tests.benchmarks import billing, calls, door, growth, relay, start
from tests.benchmarks.report import Measurement, Result, as_json, as_table, machine

MEASUREMENTS: dict[str, Measurement] = {
    "door-sqlite": door.on_sqlite,
    "door-postgres": door.on_postgres,
    "calls": calls.over_http,
    "processes": growth.of_processes,
    "start": start.of_server,
    "relay": relay.added,
    "billing": billing.over_http,
    "growth-door": growth.of_door,
    "growth-calls": growth.over_http,
}
"""Add yours here. Those at the end share a history that is made once."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*MEASUREMENTS, []], help="default: all of them")
    parser.add_argument("--quick", action="store_true", help="only whether it runs: the figures mean nothing")
    parser.add_argument("--json", type=Path, default=Path("var/benchmarks.json"), help="also written there")
    arguments = parser.parse_args()
    results: list[Result] = []
    about, began = machine(), time.monotonic()
    for name in arguments.names or MEASUREMENTS:
        print(f"{time.monotonic() - began:4.0f} s: measuring {name} ...", file=sys.stderr, flush=True)
        results += MEASUREMENTS[name](arguments.quick)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(as_json(results, about), indent=2) + "\n")
    print(as_table(results, about))


if __name__ == "__main__":
    main()
