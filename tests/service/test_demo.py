"""`make demo` tells the truth: it succeeds when all of it happened, and fails when it did not."""

import subprocess
import sys
from pathlib import Path

import demo
import pytest

PROGRAM = [sys.executable, demo.__file__]


def test_the_demo_shows_all_of_it() -> None:
    done = subprocess.run(PROGRAM, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(title in done.stdout for title, _ in demo.STEPS)
    assert "All of it happened" in done.stdout


@pytest.mark.parametrize(
    ("name", "broken", "step"),
    [
        ("CLI", "true", "Send 50 numbered packets"),
        ("CLI", "false", "Add routes"),
        ("selector", lambda stream: ["--group", stream.group], "What the kernel has"),
        ("call_as_stranger", lambda *_, anonymous: "The route was added.", "A caller without"),
    ],
    ids=["routes not added", "commands fail", "wrong routes", "stranger not refused"],
)
def test_the_demo_says_which_step_failed(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    broken: object,
    step: str,
) -> None:
    monkeypatch.setattr(demo, name, broken)
    assert demo.main([]) == 1
    output = capsys.readouterr().out
    assert "This failed" in output
    assert step in output.partition("This failed")[2]


def test_the_shell_has_the_programs_and_a_sender(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = typed(
        "mfc-dbus-cli mfc add --group 239.2.2.2 --iif up --oifs down1 && receivers",
        "sender ip -brief address show dev eth0",
        tmp_path=tmp_path,
        monkeypatch=monkeypatch,
    )
    [row] = [line for line in seen.splitlines() if "239.2.2.2" in line]
    _, _, receiver1, receiver2, _ = row.split("│")
    assert int(receiver1) > 0
    assert not receiver2.strip()
    assert "10.0.1.10/24" in seen


def test_the_shell_may_delete_interfaces(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    seen = typed(
        "ip link delete down1 && ip link delete up",
        "receivers",  # for a second, in which the sender has nothing to send by
        tmp_path=tmp_path,
        monkeypatch=monkeypatch,
    )
    assert "239.2.2.2" in seen
    assert "Traceback" not in seen + capfd.readouterr().err


def typed(*lines: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Type lines in the shell, and return what they write."""
    shell, seen = tmp_path / "shell", tmp_path / "seen"
    shell.write_text("\n".join(["#!/bin/sh", f"exec >{seen} 2>&1", *lines, ""]))
    shell.chmod(0o755)
    monkeypatch.setenv("SHELL", str(shell))
    assert demo.main(["--shell"]) == 0
    return seen.read_text()
