"""`python -m tests.simulation --seeds 2000 --from 1`: many worlds, until one is wrong."""

import argparse
import sys
import time

from tests.simulation.runs import CALLS, Totals, replay_command
from tests.simulation.world import Wrong, simulate


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="how many worlds")
    parser.add_argument("--from", type=int, default=1, dest="first", help="the first seed")
    parser.add_argument("--calls", type=int, default=CALLS, help="calls in each world")
    asked = parser.parse_args()
    totals, began, told_at = Totals(), time.monotonic(), 0.0
    for seed in range(asked.first, asked.first + asked.seeds):
        try:
            report = simulate(seed, asked.calls)
        except Wrong as wrong:
            print(f"{wrong}\nseed {seed} is wrong; again: {replay_command(seed, asked.calls)}")
            return 1
        except BaseException:
            print(f"seed {seed} broke off; again: {replay_command(seed, asked.calls)}", file=sys.stderr)
            raise
        totals.add(report)
        if time.monotonic() - told_at > 10:
            told_at = time.monotonic()
            print(f"{totals.worlds} of {asked.seeds} worlds, {totals.calls} calls", file=sys.stderr, flush=True)
    print(f"{totals}\nin {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
