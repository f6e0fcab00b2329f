"""A booted machine with the package installed in it, shared by all tests."""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.flows import Flows
from lab.installed import Installed
from lab.machine import Machine
from lab.stage import STREAMS, Network

USERS = {"alice": "", "mona": "multicast"}  # and their group
_figures: list[tuple[str, int, int]] = []


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    if os.geteuid() != 0 or not Path("/proc/1/ns").exists():
        pytest.skip("a container needs root")
    if not shutil.which("systemd-nspawn"):
        pytest.skip("there is no systemd-nspawn")
    with Machine([Path(sys.prefix)]) as machine:
        for user, group in USERS.items():
            if group:
                machine.run("groupadd", group)
            machine.run("useradd", user, *(["--groups", group] if group else []))
        yield machine


@pytest.fixture(scope="session")
def _installed(machine: Machine) -> Installed:
    installed = Installed(machine)
    installed.make("install", "install-service")
    return installed


@pytest.fixture
def installed(_installed: Installed) -> Iterator[Installed]:
    """The package; its service runs, with no route."""
    _installed.systemctl("start", "mfc-dbus")
    yield _installed
    _installed.configure_no_more()
    _installed.systemctl("start", "mfc-dbus")
    _installed.cli("mfc", "flush")


@pytest.fixture
def network(machine: Machine) -> Iterator[Network]:
    """The stage's network, with the machine as its router."""
    with contextlib.ExitStack() as stack:
        router = stack.enter_context(contextlib.closing(machine.network()))
        yield Network(stack, router)


@pytest.fixture
def flows(
    installed: Installed, network: Network, request: pytest.FixtureRequest
) -> Iterator[Flows]:
    """All streams of the stage flow, by routes of the service."""
    for stream in STREAMS:
        installed.add(stream)
    with contextlib.ExitStack() as stack:
        flows = Flows(stack, network)
        flows.go_on()
        yield flows
        flows.stop()
        _figures.append((request.node.name, sum(flows.sent.values()), sum(flows.wrong.values())))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _figures:
        terminalreporter.section("packets")
    for name, sent, wrong in _figures:
        terminalreporter.write_line(f"{name}: {sent} sent, {wrong} lost")
