"""The service on a machine whose system bus is dbus-broker, which leaves starting to systemd."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.bus import BROKER
from lab.installed import Installed, eventually
from lab.machine import Machine

ADD = ("--no-ask-password", "mfc", "add", "-g", "239.1.1.1", "-i", "in", "-o", "out", "--wait")


@pytest.fixture(scope="module")
def on_broker() -> Iterator[Installed]:
    if not shutil.which(BROKER):
        pytest.skip("there is no dbus-broker")
    with Machine([Path(sys.prefix)], bus=BROKER) as machine:
        machine.run("useradd", "alice")
        installed = Installed(machine)
        installed.make("install", "install-service")
        yield installed


def test_a_call_starts_the_service_and_polkit_says_who_may(on_broker: Installed) -> None:
    assert "dbus-broker" in on_broker.systemctl("show", "--value", "-p", "ExecStart", "dbus")
    assert on_broker.show("ActiveState") == "inactive"
    on_broker.wait()
    assert on_broker.show("ActiveState") == "active"
    assert on_broker.cli(*ADD, user="alice", check=False).returncode == 4
    assert on_broker.cli(*ADD).returncode == 0


def test_a_lost_bus_is_found_again(on_broker: Installed) -> None:
    before = on_broker.show("MainPID")
    on_broker.systemctl("restart", "dbus")
    eventually(lambda: on_broker.show("MainPID") not in (before, "0"))
    on_broker.wait()
    assert on_broker.cli("--json", "show").stdout.count("239.1.1.1") == 1
