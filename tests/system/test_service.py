"""The unit: how it is started, what its process may do, what systemctl can say to it."""

import re

import pytest
from lab.installed import OBJECT, Installed
from lab.machine import Machine

NOT_RUNNING = 5
CONFIGURATION = "etc/mfc-dbus/mfc-dbus.toml"


def rating(machine: Machine, unit: str) -> float:
    """How exposed systemd finds it, from 0 to 10."""
    shown = machine.run("systemd-analyze", "security", "--no-pager", unit).stdout
    found = re.search(r"Overall exposure level for .*: ([0-9.]+)", shown)
    assert found
    return float(found[1])


VERSION = ("busctl", "get-property", *OBJECT, OBJECT[0], "Version")


def test_a_call_of_anybody_starts_a_service_that_was_stopped(
    installed: Installed, machine: Machine
) -> None:
    installed.systemctl("stop", "mfc-dbus")
    assert installed.show("ActiveState") == "inactive"
    machine.run(*VERSION, user="alice")
    assert installed.show("ActiveState") == "active"


@pytest.mark.parametrize("verb", ["stop", "disable --now"])
def test_the_command_line_starts_nothing(installed: Installed, verb: str) -> None:
    installed.systemctl(*verb.split(), "mfc-dbus")
    try:
        for user, words in (
            ("alice", ("show",)),
            ("root", ("mfc", "add", "-g", "239.1.1.1", "-i", "in", "-o", "out", "--wait")),
        ):
            done = installed.cli(*words, user=user, check=False)
            assert done.returncode == NOT_RUNNING
            assert "is not running: 'systemctl start mfc-dbus' starts it" in done.stdout
        assert installed.show("ActiveState") == "inactive"
    finally:
        installed.systemctl("enable", "mfc-dbus")


def test_a_service_that_was_disabled_is_started_by_systemctl_alone(
    installed: Installed, machine: Machine
) -> None:
    installed.systemctl("disable", "--now", "mfc-dbus")
    try:
        assert machine.run(*VERSION, user="alice", check=False).returncode
        assert installed.show("ActiveState") == "inactive"
        installed.systemctl("start", "mfc-dbus")
        machine.run(*VERSION, user="alice")
        installed.systemctl("stop", "mfc-dbus")
    finally:
        installed.systemctl("enable", "mfc-dbus")
    machine.run(*VERSION, user="alice")
    assert installed.show("ActiveState") == "active"


def test_the_process_is_its_own_user(installed: Installed, machine: Machine) -> None:
    uid = machine.run("id", "--user", "mfc-dbus").stdout.strip()
    assert set(" ".join(installed.threads("Uid")).split()) == {uid}


@pytest.mark.parametrize("name", ["CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd"])
def test_no_thread_has_a_capability(installed: Installed, name: str) -> None:
    assert {int(value, 16) for value in installed.threads(name)} == {0}


def test_the_process_gets_no_privileges_anew(installed: Installed) -> None:
    assert set(installed.threads("NoNewPrivs")) == {"1"}


def test_systemd_finds_it_no_more_exposed_than_networkd(
    installed: Installed, machine: Machine
) -> None:
    assert rating(machine, "mfc-dbus") <= rating(machine, "systemd-networkd")


def test_its_state_is_for_nobody_else(installed: Installed, machine: Machine) -> None:
    for directory in ("var/lib/mfc-dbus", "run/mfc-dbus"):
        assert (machine.root / directory).stat().st_mode & 0o777 == 0o700


def inside(installed: Installed, machine: Machine, *command: str) -> str:
    """Run a command as root, with the files as the daemon has them; what it says."""
    entering = ("nsenter", "--mount", f"--target={installed.show('MainPID')}", "--", *command)
    return machine.run(*entering, check=False).stdout


def test_its_configuration_is_roots_and_the_daemon_only_reads_it(
    installed: Installed, machine: Machine
) -> None:
    for directory in ("etc/mfc-dbus", "etc/mfc-dbus/routes.d"):
        status = (machine.root / directory).stat()
        assert (status.st_uid, status.st_mode & 0o777) == (0, 0o755)
    python = "/usr/local/lib/mfc-dbus/venv/bin/python3"
    writing = "open('/etc/mfc-dbus/x', 'w')"
    assert "Read-only file system" in inside(installed, machine, python, "-c", writing)


def test_it_can_run_no_program(installed: Installed, machine: Machine) -> None:
    for program in ("/bin/sh", "/usr/bin/ls", "/usr/local/bin/mfc-dbus-cli"):
        assert "Permission denied" in inside(installed, machine, program)


def test_an_upgrade_gives_the_configuration_of_an_earlier_version_to_root(
    installed: Installed, machine: Machine
) -> None:
    path = machine.root / CONFIGURATION
    path.write_text("")
    try:
        machine.run("chown", "-R", "mfc-dbus:mfc-dbus", "/etc/mfc-dbus")
        machine.run("rm", "/etc/systemd/system/dbus-org.example.MulticastForwarding.service")
        installed.make("install")
        assert path.stat().st_uid == path.parent.stat().st_uid == 0
        installed.systemctl("stop", "mfc-dbus")
        machine.run(*VERSION, user="alice")
    finally:
        path.unlink()


def test_systemctl_sets_the_log_level(installed: Installed) -> None:
    assert installed.systemctl("service-log-level", "mfc-dbus") == "info"
    installed.systemctl("service-log-level", "mfc-dbus", "debug")
    assert installed.systemctl("service-log-level", "mfc-dbus") == "debug"
    installed.systemctl("restart", "mfc-dbus")


def test_reload_reads_the_configuration_again(installed: Installed, machine: Machine) -> None:
    path = machine.root / CONFIGURATION
    try:
        path.write_text("[limits]\nroutes = 0\n")
        installed.systemctl("reload", "mfc-dbus")
        refused = installed.cli("mfc", "add", "-g", "239.1.1.1", "-i", "a", "-o", "b", check=False)
        assert "configuration allows no more" in refused.stdout
    finally:
        path.unlink()
        installed.systemctl("reload", "mfc-dbus")


def test_a_broken_configuration_fails_the_reload_and_changes_nothing(
    installed: Installed, machine: Machine
) -> None:
    path = machine.root / CONFIGURATION
    before = installed.show("MainPID")
    try:
        path.write_text("[limits]\nruotes = 7\n")
        with pytest.raises(OSError, match="reload"):
            installed.systemctl("reload", "mfc-dbus")
    finally:
        path.unlink()
    assert re.search(r"mfc-dbus\.toml.*line 2.*ruotes", installed.journal())
    assert installed.show("MainPID") == before
    assert installed.show("ActiveState") == "active"


def test_the_status_tells_what_is_wrong_with_the_configuration_until_it_is_mended(
    installed: Installed, machine: Machine
) -> None:
    installed.systemctl("reload", "mfc-dbus")
    assert installed.show("StatusText") == "0 routes"
    settings = machine.root / CONFIGURATION
    routes = settings.parent / "routes.d/lobby.toml"
    problems = (
        "0 routes; 2 problems in the configuration: first /etc/mfc-dbus/mfc-dbus.toml: line 2: "
        "'limits.ruotes' is no setting"
    )
    try:
        settings.write_text("[limits]\nruotes = 7\n")
        routes.write_text("?\n")
        with pytest.raises(OSError, match="reload"):
            installed.systemctl("reload", "mfc-dbus")
        assert installed.show("StatusText").startswith(problems)
        assert problems in machine.run("systemctl", "status", "--full", "mfc-dbus").stdout
        journal = installed.journal()
        assert "routes.d/lobby.toml: line 1: '?' is not TOML" in journal
        installed.systemctl("restart", "mfc-dbus")
        assert installed.show("StatusText").startswith(problems)
    finally:
        settings.unlink()
        routes.unlink()
    installed.systemctl("reload", "mfc-dbus")
    assert installed.show("StatusText") == "0 routes"
