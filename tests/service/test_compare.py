"""All that the comparison with smcroute asks for, this service has.

It is tests/compare.py that runs the same checks on smcroute, where that is installed.
"""

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from compare import CHECKS, FAMILIES, Check, try_out
from lab.contenders import MfcDbus

_TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("check", "family"),
    [
        pytest.param(check, family, id=f"{check.run.__name__}-{FAMILIES[family].lower()}")
        for check in CHECKS
        for family in check.families
    ],
)
def test_the_service_does_it(check: Check, family: socket.AddressFamily) -> None:
    outcome = try_out(check, MfcDbus, family)
    assert outcome.passed, outcome


def test_without_smcroute_the_package_is_named() -> None:
    done = subprocess.run(
        [sys.executable, _TESTS / "compare.py", "--only", "no such feature"],
        env={"PATH": "", "PYTHONPATH": str(_TESTS)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert done.stderr.strip() == "smcroute is not installed: apt-get install smcroute"


def test_the_readme_shows_every_check() -> None:
    readme = (_TESTS.parent / "README.md").read_text()
    shown = re.findall(r"^\| (.*) \| (.*) \| .* \| (.*) \| .* \|$", readme, re.MULTILINE)
    assert {(check.feature, check.how, check.documented) for check in CHECKS} <= {*shown}
