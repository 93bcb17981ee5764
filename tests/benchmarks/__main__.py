"""`python -m tests.benchmarks [--quick] [--json FILE] [NAME ...]`: run the measurements, print one table."""

import argparse
import json
import sys
from pathlib import Path

from tests.benchmarks import billing, calls, door, relay
from tests.benchmarks.report import Measurement, Result, as_json, as_table

MEASUREMENTS: dict[str, Measurement] = {
    "door-sqlite": door.on_sqlite,
    "door-postgres": door.on_postgres,
    "calls": calls.over_http,
    "billing": billing.over_http,
    "relay": relay.added,
}
"""Add yours here."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*MEASUREMENTS, []], help="default: all of them")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, for a first look")
    parser.add_argument("--json", type=Path, default=Path("var/benchmarks.json"), help="also written there")
    arguments = parser.parse_args()
    results: list[Result] = []
    for name in arguments.names or MEASUREMENTS:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        results += MEASUREMENTS[name](arguments.quick)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(as_json(results), indent=2) + "\n")
    print(as_table(results))


if __name__ == "__main__":
    main()
