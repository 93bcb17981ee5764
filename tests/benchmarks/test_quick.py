"""That the measurements run; what they find here means nothing."""

import json
import subprocess
import sys
from pathlib import Path

from tests.servers import ROOT

FAST = ("door-sqlite", "door-postgres", "calls", "start", "growth-calls")


def test_the_fast_measurements_run_and_judge_their_aims(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", "tests.benchmarks", "--quick", "--json", str(file), *FAST]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text())["results"]
    assert {"start to ready", "memory at rest", "POST /v1/calls, SQLite"} <= {each["what"] for each in found}
    for each in found:
        assert each["figure"] > 0, each["what"]
        assert all(ratio > 0 for ratio in each["ratios"].values()), each["what"]
        assert each["met"].keys() == each["aims"].keys() <= each["references"].keys()
        assert each["what"] in done.stdout
