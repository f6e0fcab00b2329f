"""How the command line begins and ends: what it loads, what it says, and with which status."""

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from mfc_dbus.cli import main
from mfc_dbus.cli.status import Status, status_of
from mfc_dbus.model import errors

NO_BUS = "unix:path=/nonexistent"
ADD = ["mfc", "add", "--group", "239.1.1.1", "--iif", "eth1", "--oifs", "eth2"]
_REPORT = """
import json, sys
from mfc_dbus.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


@pytest.fixture(autouse=True)
def _no_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", NO_BUS)


def cli(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mfc_dbus.cli", *words]
    return subprocess.run(command, text=True, capture_output=True, timeout=30)


@cache
def loaded(*words: str) -> set[str]:
    """The packages that a command loads."""
    command = [sys.executable, "-c", _REPORT, *words]
    # `make coverage` would load modules of its own there.
    environment = {name: each for name, each in os.environ.items() if "COVERAGE" not in name}
    done = subprocess.run(command, env=environment, text=True, capture_output=True)
    modules = json.loads(done.stderr.splitlines()[-1])
    return {name.partition(".")[0] for name in modules}


@pytest.mark.parametrize(
    "words",
    [["--help"], [*ADD[:2], "--help"], ["batch", "--help"], ["--version"], ["mfc", "ad", "--iif"]],
)
def test_help_and_usage_errors_load_nothing_big(words: Sequence[str]) -> None:
    big = {"asyncio", "dbus_fast", "dbus_next", "subprocess", "rich", "cffi"}
    assert not loaded(*words) & big


ONE_SHOT = [["show"], ADD, ["mfc", "flush"], ["group", "join", *ADD[2:6]], ["batch", "-"]]


@pytest.mark.parametrize("words", [*ONE_SHOT, ["monitor"], ["discover"]])
def test_verbs_load_neither_the_kernels_side_nor_tables(words: Sequence[str]) -> None:
    assert not loaded(*words) & {"rich", "cffi", "msgspec", "sqlite3"}


@pytest.mark.parametrize("words", ONE_SHOT)
def test_what_runs_once_needs_no_event_loop_and_no_library_for_d_bus(words: Sequence[str]) -> None:
    big = {"asyncio", "dbus_fast", "dbus_next", "subprocess", "ctypes", "ssl", "dataclasses"}
    if sys.version_info >= (3, 14):
        big.remove("dataclasses")  # argparse itself loads them there
    assert not loaded(*words) & big


def test_every_error_of_the_service_has_the_status_that_help_promises() -> None:
    names = {
        error.bus_name.rpartition(".")[2]
        for _, error in inspect.getmembers(errors, inspect.isclass)
        if issubclass(error, errors.RequestError) and error is not errors.RequestError
    }
    assert {name: status_of(name) for name in names if status_of(name) != Status.FAILED} == {
        "InvalidArgs": Status.USAGE,
        "AccessDenied": Status.NOT_AUTHORISED,
        "InteractiveAuthorizationRequired": Status.NOT_AUTHORISED,
        "NoSuchRoute": Status.NOT_FOUND,
        "NoSuchChange": Status.NOT_FOUND,
        "NoSuchInterface": Status.NOT_FOUND,
        "NoSuchMembership": Status.NOT_FOUND,
        "RouteExists": Status.EXISTS,
        "MembershipExists": Status.EXISTS,
    }


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("Timeout", 3),
        ("ServiceUnknown", 5),
        ("NoReply", 5),
        ("NoServer", 5),
        ("Disconnected", 5),
        ("Spawn.ExecFailed", 5),
        ("KernelError", 1),
        ("com.example.Odd", 1),
    ],
)
def test_every_other_error_has_a_status(name: str, status: int) -> None:
    assert status_of(name) == status


def test_an_error_is_one_line_and_a_status() -> None:
    done = cli("show")
    assert done.returncode == 5
    sentence = "Cannot connect to the bus: No such file or directory"
    assert done.stderr == f"mfc-dbus-cli: {sentence}\n"
    assert not done.stdout


def test_a_usage_error_says_where_help_is() -> None:
    done = cli("mfc", "del")
    assert done.returncode == 2
    assert done.stderr.startswith("mfc-dbus-cli: ")
    assert done.stderr.endswith("(see mfc-dbus-cli mfc del --help)\n")
    assert done.stderr.count("\n") == 1


def test_what_was_typed_is_not_obeyed_by_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["\x1b[31m"]) == 2
    assert capsys.readouterr().err.startswith(r"mfc-dbus-cli: '\x1b[31m' is none of")


def test_the_version_is_told() -> None:
    done = cli("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("mfc-dbus-cli ")


@pytest.mark.parametrize("closed", [1, 2])
def test_a_closed_stream_is_no_traceback(closed: int) -> None:
    command = [sys.executable, "-m", "mfc_dbus.cli", "show"]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}>&-', "sh", *command], text=True, capture_output=True
    )
    assert done.returncode == 5
    assert "Traceback" not in done.stderr


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in the place of ssh, to be written."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "ssh"


def write(program: Path, text: str) -> None:
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)


def test_a_host_is_reached_by_ssh_alone(ssh: Path) -> None:
    write(ssh, f'echo "$@" >{ssh}.arguments')
    done = cli("-H", "root@router", "show")
    arguments = Path(f"{ssh}.arguments").read_text()
    assert arguments == "-xT -- root@router systemd-stdio-bridge\n"
    assert done.returncode == 5
    why = "Cannot reach the bus of 'root@router': ssh ended with status 0"
    assert done.stderr == f"mfc-dbus-cli: {why}\n"


@pytest.mark.parametrize("verb", ["show", "monitor"])
def test_of_a_host_that_is_not_reached_ssh_says_why(ssh: Path, verb: str) -> None:
    why = "ssh: connect to host router port 22: Connection refused"
    write(ssh, f"echo 'Authorized users only' >&2; echo '{why}\r' >&2; exit 255")
    done = cli("-H", "router", verb)
    assert done.returncode == 5
    assert done.stderr == f"mfc-dbus-cli: Cannot reach the bus of 'router': {why}\n"


def test_no_ssh_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    done = cli("-H", "router", "show")
    assert done.returncode == 5
    assert done.stderr == "mfc-dbus-cli: Cannot start ssh: No such file or directory\n"
