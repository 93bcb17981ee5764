"""Two hundred worlds with every fault at once: every hold closes, and calls, batches, numbers and recharges cost what
the network's and the bank's records say."""

import pytest

from tests.simulation.runs import CALLS, Totals, replay_command
from tests.simulation.world import COMMON, RARE, Wrong, simulate

SEEDS = 200
BLOCK = 25
HAPPENS = {"outbound billed", "inbound billed", "line of a batch done", "number active", "auto payment succeeded"}


@pytest.mark.parametrize("first", range(1, SEEDS, BLOCK))
def test_whatever_goes_wrong_every_hold_closes_and_every_charge_is_right(first: int) -> None:
    totals = Totals()
    for seed in range(first, first + BLOCK):
        try:
            totals.add(simulate(seed, CALLS))
        except Wrong as wrong:
            pytest.fail(f"{wrong}\nseed {seed} is wrong; again: {replay_command(seed, CALLS)}", pytrace=False)
    print(totals)
    assert len({*COMMON, *RARE} - set(totals.faults)) < 3, "much that can go wrong never did"
    assert len(HAPPENS - totals.reasons.keys()) < 2, "much that there is never happened"
    assert totals.doubtful < 0.25 * totals.calls, "the oracle allows nearly anything"


def test_a_seed_makes_the_same_world_again() -> None:
    assert simulate(3, CALLS).digest == simulate(3, CALLS).digest


def test_another_seed_makes_another_world() -> None:
    assert simulate(3, CALLS).digest != simulate(4, CALLS).digest
