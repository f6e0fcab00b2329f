"""The exporter's unit: off until it is asked for, with a user that owns nothing."""

from collections.abc import Iterator

import pytest
from lab.installed import Installed, eventually
from lab.machine import Machine
from lab.metrics import one, read

UNIT = "mfc-dbus-exporter.service"
SOCKET = "mfc-dbus-exporter.socket"
ASK = """
import sys, urllib.request
request = urllib.request.Request(f"http://{sys.argv[1]}:9942/metrics")
request.add_header("Accept", "application/openmetrics-text")
print(urllib.request.urlopen(request, timeout=20).read().decode())
"""


@pytest.fixture
def started(installed: Installed) -> Iterator[None]:
    installed.systemctl("start", UNIT)
    yield
    installed.systemctl("stop", UNIT)


@pytest.fixture
def listening(installed: Installed) -> Iterator[None]:
    installed.systemctl("start", SOCKET)
    yield
    installed.systemctl("stop", SOCKET, UNIT)


@pytest.fixture
def elsewhere(installed: Installed, machine: Machine) -> Iterator[str]:
    """An address of the machine that is not the loopback's, on which systemd listens."""
    address = "192.0.2.1"
    drop_in = machine.root / f"run/systemd/system/{SOCKET}.d/address.conf"
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text(f"[Socket]\nListenStream=\nListenStream={address}:9942\n")
    machine.run("ip", "address", "add", address, "dev", "lo")
    installed.systemctl("daemon-reload")
    installed.systemctl("start", SOCKET)
    yield address
    installed.systemctl("stop", SOCKET, UNIT)
    drop_in.unlink()
    installed.systemctl("daemon-reload")
    machine.run("ip", "address", "delete", f"{address}/32", "dev", "lo")


def ask(machine: Machine, address: str = "127.0.0.1") -> str:
    command = ["/usr/bin/python3", "-c", ASK, address]
    return machine.run(*command, user="alice", check=False).stdout


@pytest.mark.parametrize("unit", [UNIT, SOCKET])
def test_it_is_installed_and_not_enabled(unit: str, installed: Installed, machine: Machine) -> None:
    shown = machine.run("systemctl", "is-enabled", unit, check=False).stdout
    assert shown.strip() == "disabled"


def test_the_first_scrape_of_its_socket_starts_it(
    listening: None, installed: Installed, machine: Machine
) -> None:
    for state in ("inactive", "active"):
        shown = machine.run("systemctl", "is-active", UNIT, check=False).stdout
        assert shown.strip() == state
        assert one(read(ask(machine).strip() + "\n"), "mfc_up") == 1
    # A start anew keeps who connects meanwhile waiting, and turns nobody away.
    installed.systemctl("stop", UNIT)
    assert one(read(ask(machine).strip() + "\n"), "mfc_up") == 1


def test_its_socket_may_have_another_address(elsewhere: str, machine: Machine) -> None:
    assert one(read(ask(machine, elsewhere).strip() + "\n"), "mfc_up") == 1
    assert "mfc_up" not in ask(machine)


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
