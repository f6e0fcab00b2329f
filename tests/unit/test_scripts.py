"""The shell scripts that are installed, and those that build."""

import shutil
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
FIRST_LINES = (b"#!/bin/sh", b"#!/bin/bash")


def scripts() -> list[Path]:
    files = (path for room in (".ci", "data") for path in (TOP / room).rglob("*") if path.is_file())
    return sorted(path for path in files if path.read_bytes().startswith(FIRST_LINES))


def test_they_are_found() -> None:
    names = {path.name for path in scripts()}
    assert {"packages", "90-mfc-dbus.in", "mfc-dbus.postinst", "50-tell-of-routes"} <= names


@pytest.mark.parametrize("path", scripts(), ids=lambda path: path.name)
def test_shellcheck_finds_nothing_wrong(path: Path) -> None:
    if not shutil.which("shellcheck"):
        pytest.skip("there is no shellcheck")
    done = subprocess.run(["shellcheck", path], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
