"""All that the comparison with smcroute asks for, this service has.

Where smcroute is installed the same is tried on it, and the table of both is printed at the end.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from compare import CHECKS, Check, compare, header
from lab.markdown import Rows

_TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.run.__name__)
def test_the_service_does_it(check: Check, tables: dict[str, Rows]) -> None:
    comparison = compare(check)
    tables.setdefault("beside smcroute", [header()]).append(comparison.row)
    assert all(outcome.passed for outcome in comparison.ours.values()), comparison.ours


def test_without_smcroute_the_package_is_named() -> None:
    done = subprocess.run(
        [sys.executable, _TESTS / "compare.py", "--only", "no such feature"],
        env={"PATH": "", "PYTHONPATH": str(_TESTS)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert done.stderr.strip() == "smcroute is not installed: apt-get install smcroute"


def test_the_documentation_shows_every_check() -> None:
    page = (_TESTS.parent / "data/doc/comparison.md").read_text()
    shown = re.findall(r"^\| (.*) \| (.*) \| .* \| (.*) \| .* \|$", page, re.MULTILINE)
    assert {(check.feature, check.how, check.documented) for check in CHECKS} <= {*shown}
