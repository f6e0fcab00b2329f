"""The unit: how it is started, what its process may do, what systemctl can say to it."""

import json
import re
import shutil

import pytest
from lab import probe
from lab.installed import OBJECT, Installed
from lab.machine import Machine

from mfc_dbus.kernel import landlock
from mfc_dbus.model.journal import Message

NOT_RUNNING = 5
CONFIGURATION = "etc/mfc-dbus/mfc-dbus.toml"


def rating(machine: Machine, unit: str) -> float:
    """How exposed systemd finds it, from 0 to 10."""
    shown = machine.run("systemd-analyze", "security", "--no-pager", unit).stdout
    found = re.search(r"Overall exposure level for .*: ([0-9.]+)", shown)
    assert found
    return float(found[1])


PYTHON = "/usr/local/lib/mfc-dbus/venv/bin/python3"
PROBE = "/run/mfc-dbus-probe.py"
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
    for directory in ("", "routes.d", "connections.d"):
        status = (machine.root / "etc/mfc-dbus" / directory).stat()
        assert (status.st_uid, status.st_mode & 0o777) == (0, 0o755)
    writing = "open('/etc/mfc-dbus/x', 'w')"
    assert "Read-only file system" in inside(installed, machine, PYTHON, "-c", writing)


@pytest.fixture
def attempts(machine: Machine) -> list[probe.Attempt]:
    """What the program at PROBE tries."""
    shutil.copy(probe.__file__, machine.root / PROBE[1:])
    return list(probe.attempts())


def tried(
    installed: Installed, machine: Machine, *arguments: str, settings: str = ""
) -> dict[str, str]:
    """Run the probe as the service, in its unit's sandbox; what it was answered."""
    answers = machine.root / "run/mfc-dbus-answers.json"
    installed.systemctl("stop", "mfc-dbus")
    installed.configure(
        "Type=oneshot",
        "BusName=",
        "Restart=no",
        "ExecStart=",
        " ".join([f"ExecStart={PYTHON}", PROBE, *arguments]),
        f"StandardOutput=truncate:/run/{answers.name}",
        settings,
    )
    installed.systemctl("start", "mfc-dbus")
    found: dict[str, str] = json.loads(answers.read_text())
    return found


def test_a_daemon_that_was_taken_over_can_do_nothing_that_it_never_does(
    installed: Installed, machine: Machine, attempts: list[probe.Attempt]
) -> None:
    if landlock.version() < landlock.FIRST_WITH_TCP:
        pytest.skip("this kernel's Landlock knows nothing of TCP")
    answers = tried(installed, machine, "--as-daemon")
    assert not {
        attempt.name: answers[attempt.name]
        for attempt in attempts
        if answers[attempt.name] not in attempt.denials
    }


def test_most_of_it_the_unit_denies_whatever_capabilities_there_are(
    installed: Installed, machine: Machine, attempts: list[probe.Attempt]
) -> None:
    root = "User=root\nAmbientCapabilities=\nCapabilityBoundingSet=~"
    answers = tried(installed, machine, settings=root)
    assert not {
        attempt.name: answers[attempt.name]
        for attempt in attempts
        if attempt.by_unit and answers[attempt.name] not in attempt.denials
    }


def test_and_outside_of_the_sandbox_nothing_denies_it(
    machine: Machine, attempts: list[probe.Attempt]
) -> None:
    answers = json.loads(machine.run(PYTHON, PROBE).stdout)
    assert not {
        attempt.name: answers[attempt.name]
        for attempt in attempts
        if answers[attempt.name] in attempt.denials
    }


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


def test_the_journal_finds_a_change_by_who_made_it_and_what_it_was(
    installed: Installed, machine: Machine
) -> None:
    installed.cli("mfc", "add", "-g", "239.7.7.7", "-i", "in", "-o", "out", "--wait")
    machine.run("journalctl", "--sync")
    uid = machine.run("id", "--user", "mfc-dbus").stdout.strip()
    matches = ("MFC_GROUP=239.7.7.7", "MFC_USER=root", "MFC_ACTION=add", f"_UID={uid}")
    options = ("--boot", "--unit=mfc-dbus", "--output=json", "--no-pager")
    found = machine.run("journalctl", *options, *matches).stdout
    entry = json.loads(found.splitlines()[-1])
    assert entry["MESSAGE_ID"] == Message.ROUTE_ADDED
    assert json.loads(entry["MFC_AFTER"])["group"] == "239.7.7.7"
    installed.cli("mfc", "del", "-g", "239.7.7.7")


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
        assert "mfc-dbus-cli: /etc/mfc-dbus/mfc-dbus.toml:2: 'limits.ruotes' is no" in journal
        assert "mfc-dbus-cli: /etc/mfc-dbus/routes.d/lobby.toml:1: '?' is not TOML" in journal
        installed.systemctl("restart", "mfc-dbus")
        assert installed.show("StatusText").startswith(problems)
    finally:
        settings.unlink()
        routes.unlink()
    installed.systemctl("reload", "mfc-dbus")
    assert installed.show("StatusText") == "0 routes"


def test_the_command_line_tells_what_systemd_knows_of_the_service(installed: Installed) -> None:
    told = installed.cli("status", user="alice").stdout.splitlines()
    assert re.fullmatch(
        r"Service +mfc-dbus \S+, running since 20\S+ \S+ \(process \d+\b.*\)", told[0]
    )
    assert told[1] == f"It says      {installed.show('StatusText')}"
    unit = json.loads(installed.cli("--json", "status").stdout)["unit"]
    assert (unit["state"], unit["pid"]) == ("active", int(installed.show("MainPID")))
    installed.systemctl("stop", "mfc-dbus")
    try:
        done = installed.cli("status", check=False)
        assert (done.returncode, "Unit         inactive" in done.stdout) == (NOT_RUNNING, True)
    finally:
        installed.systemctl("start", "mfc-dbus")
