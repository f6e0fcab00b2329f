"""What `make bench` prints: each group has its figures, in a form for people and for programs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bench.__main__ import GROUPS

TESTS = Path(__file__).parents[1]
FEW = ["--routes", "20", "--smcroute-routes", "10", "--runs", "1"]


def bench(*words: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "bench", *FEW, *words],
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_a_group_is_measured(group: str) -> None:
    rows = json.loads(bench("--json", group))[group]["rows"]
    assert rows
    assert all(row["runs"] for row in rows)


def test_another_version_is_measured_beside() -> None:
    old = str(Path(sys.executable).parent)
    rows = json.loads(bench("--json", "--old", old, "apply"))["apply"]["rows"]
    versions = [{row["what"] for row in rows if row["version"] == name} for name in ("old", "new")]
    assert versions == [{"all new", "the same", "all changed", "flush"}] * 2


def test_a_table_fits_a_terminal() -> None:
    table = bench("add")
    assert "mfc-dbus-cli mfc add" in table
    assert all(len(line) <= 80 for line in table.splitlines())


def test_what_is_no_group_is_refused() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        bench("no such group")
