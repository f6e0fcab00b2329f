"""The routes of connections: with the real NetworkManager and networkd-dispatcher, and by hand."""

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from lab.installed import Installed, eventually
from lab.machine import Machine
from lab.stage import STREAMS, Network, Stream, Traffic

FILES = "etc/mfc-dbus/connections.d"
APPLIED = "run/mfc-dbus-connections"
SCRIPT = "/usr/lib/NetworkManager/dispatcher.d/90-mfc-dbus"
SETTINGS = "run/NetworkManager/conf.d/test.conf"
NETWORKD = "run/systemd/network"
ID, UUID, OTHER = "the lobby", "97de6ccb-b148-43a9-bf71-924d2f71a814", "0-1"
SG4, _, SG6, _ = STREAMS
ADDRESSES = ("10.0.1.1/24", "fd00:1::1/64")
JOIN = '[[membership]]\ngroup = "239.1.1.1"\ninterface = "${INTERFACE}"\n'


def route(stream: Stream, iif: str = "${INTERFACE}", oifs: Sequence[str] = ()) -> str:
    """An entry of a document for a route of this stream."""
    return (
        f'[[route]]\nsource = "{stream.source}"\ngroup = "{stream.group}"\niif = "{iif}"\n'
        f"oifs = {json.dumps([*(oifs or stream.oifs)])}\n"
    )


class Files:
    """The documents of connections."""

    def __init__(self, machine: Machine) -> None:
        self._directory = machine.root / FILES

    def __setitem__(self, name: str, text: str) -> None:
        self.path(name).write_text(text)

    def path(self, name: str) -> Path:
        return self._directory / f"{name}.toml"


@pytest.fixture
def files(installed: Installed, machine: Machine, network: Network) -> Iterator[Files]:
    files = Files(machine)
    yield files
    for path in (machine.root / FILES).iterdir():
        path.unlink()
    shutil.rmtree(machine.root / APPLIED, ignore_errors=True)
    machine.run("sh", "-c", "echo | mfc-dbus-cli apply - --empty")


def routes(installed: Installed) -> Mapping[str, str]:
    """The groups that have routes, and the iif of these."""
    shown = json.loads(installed.cli("--json", "show").stdout)
    return {each["group"]: each["iif"] for each in shown}


def memberships(installed: Installed) -> Sequence[str]:
    return [each["interface"] for each in json.loads(installed.cli("--json", "show", "m").stdout)]


def documents(machine: Machine) -> int:
    """How many are applied."""
    return len([*(machine.root / APPLIED).glob("*.toml")])


def become(installed: Installed, expected: Mapping[str, str]) -> None:
    eventually(lambda: routes(installed) == expected)


# NetworkManager


@pytest.fixture
def manager(files: Files, installed: Installed, machine: Machine) -> Iterator[None]:
    """NetworkManager runs, and has a connection of the interface `up`, which is not up."""
    if not shutil.which("nmcli"):
        pytest.skip("there is no NetworkManager")
    settings = machine.root / SETTINGS
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(
        "[main]\nno-auto-default=*\ndns=none\nrc-manager=unmanaged\n"
        "[keyfile]\nunmanaged-devices=*,except:interface-name:up\n"
    )
    # It would take what is there already for a connection.
    machine.network().ip("address flush dev up")
    try:
        installed.systemctl("start", "NetworkManager")
        addresses = [
            word
            for family, address in zip(("ipv4", "ipv6"), ADDRESSES, strict=True)
            for word in (f"{family}.method", "manual", f"{family}.addresses", address)
        ]
        names = ("connection.uuid", UUID, "con-name", ID, "ifname", "up", "autoconnect", "no")
        machine.run(
            "nmcli", "connection", "add", "save", "no", "type", "ethernet", *names, *addresses
        )
        yield
    finally:
        machine.run("nmcli", "connection", "delete", ID, check=False)
        installed.systemctl("stop", "NetworkManager")
        # Scripts may run still, and events start it again.
        stop = ("systemctl", "stop", "NetworkManager-dispatcher")
        eventually(lambda: machine.run(*stop, check=False).returncode == 0)
        settings.unlink()
        machine.run("sh", "-c", "rm -rf /var/lib/NetworkManager/* /run/NetworkManager")


def go(machine: Machine, action: str) -> None:
    machine.run("nmcli", "connection", action, ID)


@pytest.mark.usefixtures("manager")
def test_a_connection_has_its_routes_while_it_is_up(
    files: Files, installed: Installed, machine: Machine, network: Network
) -> None:
    files[ID] = route(SG4) + route(SG6) + JOIN
    installed.cli("mfc", "add", "-g", "239.7.7.7", "-i", "down1", "-o", "down2", "--transient")
    others = {"239.7.7.7": "down1"}
    go(machine, "up")
    become(installed, {SG4.group: "up", SG6.group: "up", **others})
    assert memberships(installed) == ["up"]
    with contextlib.ExitStack() as stack:
        sent, arrived = Traffic(stack, network).send(10)
        for stream in (SG4, SG6):
            for link in stream.oifs:
                assert arrived[stream, link] == sent[stream]
        go(machine, "down")
        become(installed, others)
        assert memberships(installed) == []
        assert not any(Traffic(stack, network).send(10)[1].values())
    assert documents(machine) == 0


@pytest.mark.usefixtures("manager")
def test_what_is_taken_away_is_what_was_applied_whatever_became_of_file_and_interface(
    files: Files, installed: Installed, machine: Machine, network: Network
) -> None:
    files[UUID] = route(SG4) + route(SG6)
    files[ID] = "not even read\n"
    go(machine, "up")
    become(installed, {SG4.group: "up", SG6.group: "up"})
    files[UUID] = route(SG6) + route(Stream("*", "ff3e::9", ("down1",), ()))
    network.router.ip("link delete dev up")
    become(installed, {})
    assert documents(machine) == 0


@pytest.mark.usefixtures("manager")
def test_a_file_that_was_edited_counts_from_the_next_reapply_on(
    files: Files, installed: Installed, machine: Machine
) -> None:
    files[ID] = route(SG4) + route(SG6) + JOIN
    go(machine, "up")
    become(installed, {SG4.group: "up", SG6.group: "up"})
    files[ID] = route(SG6) + route(Stream("*", "ff3e::9", ("down1",), ()))
    machine.run("nmcli", "device", "reapply", "up")
    become(installed, {SG6.group: "up", "ff3e::9": "up"})
    eventually(lambda: memberships(installed) == [])
    assert documents(machine) == 1
    go(machine, "down")
    become(installed, {})


def said_by_scripts(machine: Machine) -> str:
    unit = "--unit=NetworkManager-dispatcher"
    return machine.run("journalctl", "--boot", unit, "--output=cat", "--no-pager").stdout


@pytest.mark.usefixtures("manager")
@pytest.mark.parametrize("name", [ID, UUID])
def test_a_users_own_connection_has_none_of_the_systems_routes(
    name: str, files: Files, installed: Installed, machine: Machine
) -> None:
    files[name] = route(SG4)
    own = ("connection.permissions", "user:alice")
    machine.run("nmcli", "connection", "modify", ID, *own)
    go(machine, "up")
    refused = f"/{FILES}/{name}.toml: refused to connection {UUID}, which is not the system's"
    eventually(lambda: refused in said_by_scripts(machine))
    assert (routes(installed), documents(machine)) == ({}, 0)
    go(machine, "down")
    machine.run("nmcli", "connection", "modify", ID, own[0], "")
    go(machine, "up")
    become(installed, {SG4.group: "up"})


@pytest.mark.usefixtures("manager")
def test_a_failure_is_in_the_journal(files: Files, installed: Installed, machine: Machine) -> None:
    def said() -> str:
        return said_by_scripts(machine)

    files[ID] = route(SG4)
    files.path(ID).chmod(0o646)
    go(machine, "up")
    refused = f"mfc-dbus: /{FILES}/{ID}.toml is not a file of root that nobody else can write to"
    eventually(lambda: refused in said())
    eventually(lambda: f'"{SCRIPT}": complete: failed' in said())
    files.path(ID).chmod(0o644)
    files[ID] = "[[route]]\niif = 3\n"
    machine.run("nmcli", "device", "reapply", "up")
    eventually(lambda: f"mfc-dbus-cli: /{FILES}/{ID}.toml:2: route[0].iif: 3 is no" in said())
    assert routes(installed) == {}
    assert documents(machine) == 0


# networkd-dispatcher


def test_an_interface_of_networkd_has_its_routes_while_it_is_routable(
    files: Files, installed: Installed, machine: Machine, network: Network
) -> None:
    if not shutil.which("networkd-dispatcher"):
        pytest.skip("there is no networkd-dispatcher")
    machine.network().ip("address flush dev up")
    directory = machine.root / NETWORKD
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "up.network").write_text(
        f"[Match]\nName=up\n[Network]\nAddress={ADDRESSES[0]}\nIPv6AcceptRA=no\n"
    )
    (directory / "zz.network").write_text("[Match]\nName=*\n[Link]\nUnmanaged=yes\n")
    files["up"] = route(SG4) + JOIN
    units = ("networkd-dispatcher", "systemd-networkd.socket", "systemd-networkd")
    try:
        installed.systemctl("start", *reversed(units))
        become(installed, {SG4.group: "up"})
        files["up"] = ""
        machine.run("networkctl", "down", "up")
        become(installed, {})
        assert memberships(installed) == []
        files["up"] = route(SG6)
        machine.run("networkctl", "up", "up")
        become(installed, {SG6.group: "up"})
        network.router.ip("link delete dev up")
        become(installed, {})
    finally:
        installed.systemctl("stop", *units)
        shutil.rmtree(directory)


# By hand


NMCLI = "run/nmcli"


class Event:
    """Runs the script as a dispatcher does; its status and what it says.

    No NetworkManager runs, and each connection is the system's.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.nmcli("exit")

    def nmcli(self, does: str) -> None:
        """Let nmcli do this."""
        path = self._machine.root / NMCLI / "nmcli"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{does}\n")
        path.chmod(0o755)

    def __call__(
        self, interface: str, action: str, name: str = ID, uuid: str = UUID
    ) -> tuple[int, str]:
        names = (f"CONNECTION_ID={name}", f"CONNECTION_UUID={uuid}", f"DEVICE_IFACE={interface}")
        path = f"PATH=/{NMCLI}:/usr/sbin:/usr/bin"
        done = self._machine.run("env", path, *names, SCRIPT, interface, action, check=False)
        return done.returncode, done.stdout


DONE = (0, "")


@pytest.fixture
def event(machine: Machine) -> Event:
    return Event(machine)


def test_of_other_events_nothing_is_made(
    files: Files, event: Event, installed: Installed, machine: Machine
) -> None:
    files[ID] = route(SG4)
    actions = ("pre-up", "pre-down", "vpn-up", "vpn-down", "vpn-pre-up", "dhcp4-change", "hostname")
    for action in (*actions, "dhcp6-change", "connectivity-change", ""):
        assert event("up", action) == DONE
    assert event("gone", "up") == DONE  # the event is late
    assert event("up", "up", "another", OTHER) == DONE
    assert event("up", "down") == DONE
    assert machine.run(SCRIPT).stdout == ""
    assert routes(installed) == {}
    assert documents(machine) == 0


@pytest.mark.parametrize("name", ["a b  *", ".hidden", "-x", "$(exit 7)", "`'\"", "ü\t?"])
def test_a_connection_may_have_any_name(
    name: str, files: Files, event: Event, installed: Installed
) -> None:
    files[name] = route(SG4)
    assert event("up", "up", name, OTHER) == DONE
    assert routes(installed) == {SG4.group: "up"}
    assert event("up", "down", name, OTHER) == DONE
    assert routes(installed) == {}


def test_no_name_leads_to_another_directory(
    files: Files, event: Event, installed: Installed, machine: Machine
) -> None:
    (machine.root / "etc/mfc-dbus/routes.d/x.toml").write_text(route(SG4, "up"))
    try:
        for name in ("../routes.d/x", "/etc/mfc-dbus/routes.d/x", "..", ""):
            assert event("up", "up", name) == DONE
        files[UUID] = route(SG6)
        assert event("up", "up", "../routes.d/x") == DONE
        assert routes(installed) == {SG6.group: "up"}
    finally:
        (machine.root / "etc/mfc-dbus/routes.d/x.toml").unlink()


def test_only_files_of_root_count(
    files: Files, event: Event, installed: Installed, machine: Machine
) -> None:
    files[ID] = route(SG4)
    for arrange in ("chown alice", "chown root:root", "chmod g+w", "chmod g-w,o+w", "chmod o-w"):
        machine.run(*arrange.split(), f"/{FILES}/{ID}.toml")
        status, said = event("up", "up")
        fits = arrange in ("chown root:root", "chmod o-w")
        assert (status, "refused" in said) == ((0, False) if fits else (1, True)), arrange
        event("up", "down")
    machine.run("ln", "-s", f"/{FILES}/{ID}.toml", f"/{FILES}/{UUID}.toml")
    assert event("up", "up") == DONE
    machine.run("chown", "alice", f"/{FILES}/{ID}.toml")
    assert event("up", "up")[0] == 1
    assert routes(installed) == {SG4.group: "up"}  # those of before
    files.path(UUID).unlink()
    files.path(ID).unlink()
    files.path(ID).mkdir()
    assert event("up", "up")[0] == 1
    files.path(ID).rmdir()
    # A connection whose file has gone has no routes from its next event on.
    assert event("up", "up") == DONE
    assert routes(installed) == {}


def test_a_file_is_for_no_connection_of_which_nobody_says_whose_it_is(
    files: Files, event: Event, installed: Installed
) -> None:
    files[ID] = route(SG4)
    for does in ("exit 10", "echo user:alice", "kill $$"):
        event.nmcli(does)
        status, said = event("up", "up")
        assert (status, f"{ID}.toml: refused" in said) == (1, True)
        assert routes(installed) == {}
    event.nmcli("exit")
    assert event("up", "up") == DONE
    event.nmcli("exit 10")
    assert event("up", "down") == DONE
    assert routes(installed) == {}


def test_connections_do_not_take_away_what_another_one_says(
    files: Files, event: Event, installed: Installed
) -> None:
    """The same file for two: a stream that comes by the newer one, and back."""
    oifs = ("down2",)
    both = route(SG4, oifs=oifs) + route(SG6, "down2", ["lo0"]) + JOIN
    files["one"] = both + route(Stream("*", "239.8.8.1", oifs, ()))
    files["two"] = both + route(Stream("*", "239.8.8.2", oifs, ()))
    shared = {SG6.group: "down2"}
    one, two = ("up", "one", UUID), ("down1", "two", OTHER)

    def happen(which: tuple[str, str, str], action: str) -> None:
        interface, name, uuid = which
        assert event(interface, action, name, uuid) == DONE

    happen(one, "up")
    assert routes(installed) == {SG4.group: "up", "239.8.8.1": "up", **shared}
    happen(two, "up")
    all_there = {SG4.group: "down1", "239.8.8.1": "up", "239.8.8.2": "down1", **shared}
    assert routes(installed) == all_there
    assert sorted(memberships(installed)) == ["down1", "up"]
    happen(two, "up")
    assert routes(installed) == all_there
    happen(one, "down")
    assert routes(installed) == {SG4.group: "down1", "239.8.8.2": "down1", **shared}
    happen(one, "up")
    happen(one, "down")
    happen(one, "up")
    assert routes(installed) == all_there | {SG4.group: "up"}
    happen(one, "down")
    assert routes(installed) == {SG4.group: "down1", "239.8.8.2": "down1", **shared}
    happen(two, "down")
    assert routes(installed) == {}
    assert memberships(installed) == []


def test_what_others_made_to_last_stays(
    files: Files, event: Event, installed: Installed, machine: Machine
) -> None:
    configured = machine.root / "etc/mfc-dbus/routes.d/x.toml"
    configured.write_text(route(SG6, "up"))
    try:
        installed.systemctl("reload", "mfc-dbus")
        installed.add(SG4)
        files[ID] = route(SG4) + route(SG6) + route(Stream("*", "239.8.8.1", ("down2",), ()))
        lasting = {SG4.group: "up", SG6.group: "up"}
        for _ in range(2):
            assert event("up", "up") == DONE
            assert routes(installed) == lasting | {"239.8.8.1": "up"}
        assert event("up", "down") == DONE
        assert routes(installed) == lasting
    finally:
        configured.unlink()
        installed.systemctl("reload", "mfc-dbus")


def test_routes_come_back_with_the_service(
    files: Files, event: Event, installed: Installed, machine: Machine
) -> None:
    files[ID] = route(SG4)
    assert event("up", "up") == DONE
    installed.systemctl("restart", "mfc-dbus")
    installed.wait()
    assert routes(installed) == {SG4.group: "up"}
    installed.systemctl("stop", "mfc-dbus")
    installed.systemctl("start", "mfc-dbus")
    assert routes(installed) == {}
    link = f"/etc/mfc-dbus/dispatcher.d/{Path(SCRIPT).name}"
    machine.run("ln", "-s", SCRIPT, link)
    try:
        installed.systemctl("enable", "--now", "mfc-dbus-dispatcher")
        become(installed, {SG4.group: "up"})
    finally:
        installed.systemctl("disable", "--now", "mfc-dbus-dispatcher")
        machine.run("rm", "-rf", link, "/var/lib/mfc-dbus-dispatcher")
    assert event("up", "down") == DONE
    assert routes(installed) == {}


def test_a_service_that_restarts_is_waited_for(
    files: Files, event: Event, installed: Installed, machine: Machine
) -> None:
    """A command that finds nobody says what one says whose service has stopped for good."""
    files[ID] = route(SG4)
    slow = machine.root / "run/systemd/system/mfc-dbus.service.d/slow.conf"
    slow.parent.mkdir(parents=True)
    slow.write_text("[Service]\nExecStartPre=+sleep 3\n")
    installed.systemctl("daemon-reload")
    try:
        for action, expected in (("up", {SG4.group: "up"}), ("down", {})):
            installed.systemctl("restart", "--no-block", "mfc-dbus")
            assert event("up", action)[0] == 0
            installed.wait()
            assert routes(installed) == expected
    finally:
        shutil.rmtree(slow.parent)
        installed.systemctl("daemon-reload")


def test_the_newest_has_its_way_also_when_all_come_back(
    files: Files, event: Event, installed: Installed, machine: Machine
) -> None:
    files["both"] = route(SG4, oifs=["down2"])
    first, second = ("down1", "both", UUID), ("up", "both", OTHER)
    for interface, name, uuid in (first, second, first):
        assert event(interface, "up", name, uuid) == DONE
    assert routes(installed) == {SG4.group: "down1"}
    installed.systemctl("stop", "mfc-dbus")
    installed.systemctl("start", "mfc-dbus")
    installed.wait()
    assert routes(installed) == {}
    assert machine.run(SCRIPT, "service", "service-up").stdout == ""
    assert routes(installed) == {SG4.group: "down1"}
    for interface, name, uuid in (first, second):
        assert event(interface, "down", name, uuid) == DONE


def test_without_the_service_a_connection_fails_to_have_routes_and_has_none_to_lose(
    files: Files, event: Event, installed: Installed, machine: Machine
) -> None:
    files[ID] = route(SG4)
    assert event("up", "up") == DONE
    installed.systemctl("stop", "mfc-dbus")
    machine.run("systemctl", "mask", "--runtime", "mfc-dbus")
    try:
        status, said = event("up", "up")
        assert (status, "mfc-dbus-cli: " in said) == (1, True)
        assert event("up", "down")[0] == 0
        assert documents(machine) == 0
    finally:
        machine.run("systemctl", "unmask", "--runtime", "mfc-dbus")
        installed.systemctl("start", "mfc-dbus")
    assert routes(installed) == {}
