"""The dispatcher's unit on a booted machine: when it runs, and what becomes of its scripts."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from lab.installed import Installed, eventually
from lab.machine import Machine

UNIT = "mfc-dbus-dispatcher"
SCRIPTS = "/etc/mfc-dbus/dispatcher.d"
DROP_IN = f"run/systemd/system/{UNIT}.service.d/test.conf"
ROUTE = "10.1.0.10,239.1.2.3"
ADD = ("mfc", "add", "-s", "10.1.0.10", "-g", "239.1.2.3", "-i", "in", "-o", "out", "--wait")


class Scripts:
    """The scripts of the machine, which write down what they hear in /root."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.names: list[str] = []

    def add(self, name: str, more: str = "") -> None:
        self.names.append(name)
        text = f'#!/bin/sh\necho "$2 $1" >>/root/{name}.heard\necho "{name} says $2"\n{more}\n'
        path = self._machine.root / f"{SCRIPTS}/{name}".lstrip("/")
        path.write_text(text)
        path.chmod(0o755)

    def told(self, name: str) -> Sequence[str]:
        path = self._path(name)
        return path.read_text().splitlines() if path.exists() else []

    def forget(self) -> None:
        for name in self.names:
            self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._machine.root / f"root/{name}.heard"

    def close(self) -> None:
        self.forget()
        for name in self.names:
            (self._machine.root / f"{SCRIPTS}/{name}".lstrip("/")).unlink()


@pytest.fixture
def scripts(installed: Installed, machine: Machine) -> Iterator[Scripts]:
    """The dispatcher runs with a script, which has heard that the service is up; a script may take
    two seconds."""
    scripts = Scripts(machine)
    scripts.add("a")
    path = machine.root / DROP_IN
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"[Service]\nExecStart=\nExecStart=/usr/local/bin/{UNIT} --timeout=2\n")
    installed.systemctl("daemon-reload")
    installed.systemctl("enable", "--now", UNIT)
    eventually(lambda: "service-up service" in scripts.told("a"))
    scripts.forget()
    yield scripts
    installed.systemctl("disable", "--now", UNIT)
    path.unlink(missing_ok=True)  # a boot has done so
    installed.systemctl("daemon-reload")
    scripts.close()
    machine.run("rm", "-rf", "/var/lib/mfc-dbus-dispatcher")


def main_pid(installed: Installed) -> str:
    return installed.systemctl("show", "--value", "-p", "MainPID", UNIT)


def journal(machine: Machine, *words: str) -> list[dict[str, str]]:
    lines = machine.run("journalctl", "--boot", "--output=json", *words).stdout.splitlines()
    return [json.loads(line) for line in lines]


def test_it_is_installed_and_not_enabled(installed: Installed, machine: Machine) -> None:
    shown = machine.run("systemctl", "is-enabled", UNIT, check=False).stdout
    assert shown.strip() == "disabled"
    assert machine.run("ls", "-A", SCRIPTS, "/usr/lib/mfc-dbus/dispatcher.d").stdout.split() == [
        f"{SCRIPTS}:",
        "no-wait.d",
        "/usr/lib/mfc-dbus/dispatcher.d:",
        "no-wait.d",
    ]


def test_events_are_heard_and_the_journal_has_what_a_script_says_under_its_name(
    scripts: Scripts, installed: Installed, machine: Machine
) -> None:
    installed.cli(*ADD)
    eventually(lambda: scripts.told("a") == [f"route-add {ROUTE}"])
    machine.run("journalctl", "--sync")
    (line,) = [
        each
        for each in journal(machine, "--identifier=a", f"--unit={UNIT}")
        if each["MESSAGE"] == "a says route-add"
    ]
    assert line["_SYSTEMD_UNIT"] == f"{UNIT}.service"
    assert machine.run(UNIT, "--list").stdout.strip() == f"{SCRIPTS}/a"


def test_a_service_that_fails_does_not_take_it_along_and_one_that_stops_does(
    scripts: Scripts, installed: Installed, machine: Machine
) -> None:
    pid = main_pid(installed)
    installed.kill()
    eventually(lambda: scripts.told("a") == ["service-down service", "service-up service"])
    assert main_pid(installed) == pid
    scripts.forget()
    installed.systemctl("stop", "mfc-dbus")
    shown = ("systemctl", "is-active", UNIT)
    eventually(lambda: machine.run(*shown, check=False).stdout.strip() == "inactive")
    assert scripts.told("a") == ["service-down service"]
    installed.systemctl("start", "mfc-dbus")
    eventually(lambda: scripts.told("a") == ["service-down service", "service-up service"])
    scripts.forget()
    installed.systemctl("restart", "mfc-dbus")
    eventually(lambda: scripts.told("a") == ["service-down service", "service-up service"])


def test_a_script_outlives_the_dispatchers_end_and_nobody_hears_twice(
    scripts: Scripts, installed: Installed, machine: Machine
) -> None:
    scripts.add("b", "sleep 1; echo done >>/root/b.heard")
    scripts.add("c")
    installed.cli(*ADD)
    eventually(lambda: bool(scripts.told("b")))
    pid = main_pid(installed)
    machine.run("kill", "-9", pid)
    eventually(lambda: bool(scripts.told("c")))
    assert main_pid(installed) not in ("0", pid)
    assert scripts.told("b") == [f"route-add {ROUTE}", "done"]
    assert scripts.told("a") == scripts.told("c") == [f"route-add {ROUTE}"]


def test_a_script_is_ended_with_all_that_it_has_started(
    scripts: Scripts, installed: Installed, machine: Machine
) -> None:
    scripts.add("b", "setsid sh -c 'echo $$ >/root/pid; exec sleep 1000' & sleep 1000")
    installed.cli(*ADD)
    eventually((machine.root / "root/pid").exists)
    pid = (machine.root / "root/pid").read_text().strip()
    assert (machine.root / f"proc/{pid}").exists()
    eventually(lambda: not (machine.root / f"proc/{pid}").exists())
    machine.run("journalctl", "--sync")
    said = [each["MESSAGE"] for each in journal(machine, f"--unit={UNIT}")]
    assert f"b took more than 2 s and was ended: {ROUTE} route-add" in said


def test_after_a_boot_routes_are_not_added_again(
    scripts: Scripts, installed: Installed, machine: Machine
) -> None:
    installed.cli(*ADD)
    eventually(lambda: scripts.told("a") == [f"route-add {ROUTE}"])
    scripts.forget()
    machine.reboot()
    eventually(lambda: "service-up service" in scripts.told("a"))
    installed.cli("mfc", "flush")
    eventually(lambda: f"route-remove {ROUTE}" in scripts.told("a"))
    assert scripts.told("a") == [
        "service-down service",
        "service-up service",
        f"route-remove {ROUTE}",
    ]
