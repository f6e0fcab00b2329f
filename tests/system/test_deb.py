"""The Debian package, in a booted Debian: installed, upgraded under traffic, removed, purged.

The tests build on each other in the order of a package's life.
"""

import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.flows import Flows
from lab.installed import TOP, Installed, make
from lab.machine import Machine
from lab.stage import STREAMS, Network

pytestmark = pytest.mark.skipif(not shutil.which("apt-get"), reason="this is no Debian")
UNITS = ["mfc-dbus-dispatcher.service", "mfc-dbus-exporter.service", "mfc-dbus-json.socket"]
STATE = "/var/lib/mfc-dbus/routes.db"
NEWER = "0.1.1-1"


class Packaged(Installed):
    """A machine with the packages in its /root, and what can be done with them."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        make(TOP, "deb")
        self.packages = {
            path.name.partition("_")[0]: path for path in (TOP / "build").glob("*.deb")
        }
        for path in self.packages.values():
            shutil.copy2(path, machine.root / "root")

    def dpkg(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.machine.run("dpkg", *arguments, check=check)

    def make_newer(self, directory: Path) -> str:
        """Pack the same again under a higher version; its path on the machine."""
        tree = directory / "tree"
        run = ["dpkg-deb", "--raw-extract", str(self.packages["mfc-dbus"]), str(tree)]
        subprocess.run(run, check=True)
        control = tree / "DEBIAN/control"
        control.write_text(re.sub("(?m)^Version: .*", f"Version: {NEWER}", control.read_text()))
        newer = self.machine.root / "root/newer.deb"
        subprocess.run(["dpkg-deb", "--build", str(tree), str(newer)], check=True)
        return "/root/newer.deb"

    @property
    def package(self) -> str:
        return f"/root/{self.packages['mfc-dbus'].name}"


@pytest.fixture(scope="module")
def packaged() -> Iterator[Packaged]:
    with Machine() as machine:
        machine.run("useradd", "alice")
        machine.let_packages_start()
        yield Packaged(machine)


@pytest.fixture
def network(packaged: Packaged) -> Iterator[Network]:
    with contextlib.ExitStack() as stack:
        router = stack.enter_context(contextlib.closing(packaged.machine.network()))
        yield Network(stack, router)


def test_lintian_has_nothing_to_say_that_is_not_explained(packaged: Packaged) -> None:
    files = map(str, packaged.packages.values())
    said = subprocess.run(
        ["lintian", "--allow-root", "--tag-display-limit", "0", *files],
        capture_output=True,
        text=True,
    )
    assert not said.stdout


def test_it_is_installed_and_serves(packaged: Packaged, network: Network) -> None:
    packaged.dpkg("--install", *(f"/root/{path.name}" for path in packaged.packages.values()))
    packaged.wait()
    assert packaged.show("NRestarts") == "0"
    assert packaged.systemctl("is-enabled", "mfc-dbus") == "enabled"
    for unit in UNITS:
        shown = packaged.machine.run("systemctl", "is-enabled", unit, check=False)
        assert shown.stdout.strip() == "disabled"
        assert packaged.systemctl("show", "--value", "-p", "ActiveState", unit) == "inactive"
    assert packaged.cli("--version", user="alice").stdout.split()[-1] == "0.1.0"
    refused = packaged.cli("--no-ask-password", "mfc", "flush", user="alice", check=False)
    assert refused.returncode == 4
    packaged.add(STREAMS[0])
    assert network.entries() == {STREAMS[0].entry}
    packaged.cli("mfc", "flush")
    assert packaged.cli("metrics").stdout.endswith("# EOF\n")
    packaged.machine.run("man", "-w", "mfc-dbus-cli")
    # It is found with what it needs: only a display is missing.
    applet = packaged.machine.run("mfc-dbus-applet", user="alice", check=False)
    assert "display" in applet.stdout


def test_an_upgrade_loses_no_packet(packaged: Packaged, network: Network, tmp_path: Path) -> None:
    newer = packaged.make_newer(tmp_path)
    for stream in STREAMS:
        packaged.add(stream)
    before = packaged.show("MainPID")
    with contextlib.ExitStack() as stack:
        flows = Flows(stack, network)
        flows.go_on()
        packaged.dpkg("--install", newer)
        assert packaged.show("MainPID") not in (before, "0")
        packaged.wait()
        flows.go_on()
        flows.stop()
        assert not flows.wrong
        assert flows.counters() == flows.sent
    packaged.cli("mfc", "flush")


def test_a_downgrade_is_refused_and_the_service_goes_on(packaged: Packaged) -> None:
    done = packaged.dpkg("--install", packaged.package, check=False)
    assert done.returncode
    assert f"mfc-dbus {NEWER} is installed, and 0.1.0-1 is older" in done.stdout
    assert NEWER in packaged.dpkg("--status", "mfc-dbus").stdout
    packaged.wait()
    assert packaged.show("ActiveState") == "active"


def test_a_removal_stops_it_and_keeps_the_routes(packaged: Packaged, network: Network) -> None:
    packaged.add(STREAMS[0])
    packaged.systemctl("start", "mfc-dbus-json.socket")
    packaged.dpkg("--remove", "mfc-dbus-applet", "mfc-dbus-exporter", "mfc-dbus")
    assert not network.entries()
    left = packaged.machine.run("ls", "/run/mfc_daemon.sock", "/usr/bin/mfc-dbusd", check=False)
    assert left.stdout.count("No such file") == 2
    packaged.machine.run("test", "-e", STATE)

    packaged.dpkg("--install", "/root/newer.deb")
    packaged.wait()
    assert network.entries() == {STREAMS[0].entry}


def test_a_purge_leaves_nothing(packaged: Packaged) -> None:
    packaged.dpkg("--purge", "mfc-dbus", "mfc-dbus-exporter", "mfc-dbus-applet")
    found = packaged.machine.run(
        *("find", "/etc", "/usr", "/lib", "/var/lib", "-xdev", "-iname", "*mfc-dbus*"),
        *("-not", "-path", "*/man-db/*", "-not", "-path", "/var/lib/systemd/*"),
    )
    assert not found.stdout
