"""The exporter's unit: off until it is asked for, with a user that owns nothing."""

from collections.abc import Iterator

import pytest
from lab.installed import Installed, eventually
from lab.machine import Machine
from lab.metrics import one, read

UNIT = "mfc-dbus-exporter"
ASK = """
import urllib.request
request = urllib.request.Request("http://127.0.0.1:9942/metrics")
request.add_header("Accept", "application/openmetrics-text")
print(urllib.request.urlopen(request, timeout=20).read().decode())
"""


@pytest.fixture
def started(installed: Installed) -> Iterator[None]:
    installed.systemctl("start", UNIT)
    yield
    installed.systemctl("stop", UNIT)


def ask(machine: Machine) -> str:
    return machine.run("/usr/bin/python3", "-c", ASK, user="alice", check=False).stdout


def test_it_is_installed_and_not_enabled(installed: Installed, machine: Machine) -> None:
    shown = machine.run("systemctl", "is-enabled", UNIT, check=False).stdout
    assert shown.strip() == "disabled"


def test_it_tells_of_the_service_and_has_no_power(
    started: None, installed: Installed, machine: Machine
) -> None:
    eventually(lambda: "# EOF" in ask(machine))
    assert one(read(ask(machine).strip() + "\n"), "mfc_up") == 1
    pid = machine.run("systemctl", "show", "--value", "-p", "MainPID", UNIT).stdout.strip()
    lines = machine.run("cat", f"/proc/{pid}/status").stdout.splitlines()
    status = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    assert "0" not in status["Uid"]
    assert {int(status[f"Cap{which}"][0], 16) for which in ("Prm", "Eff", "Bnd", "Amb")} == {0}
    assert status["NoNewPrivs"] == ["1"]
