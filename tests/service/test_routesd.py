"""routes.d: what its files say is there, changed by its difference, and by nobody else."""

import asyncio
import json
import socket
from pathlib import Path

import pytest
from lab.bus import PrivateBus
from lab.caller import MEMBERSHIP, OWN, ROUTE, Caller, Membership, Route, refused
from lab.daemon import Daemon
from lab.igmp import Member, members
from lab.manager import Manager
from lab.netns import Namespace
from lab.witness import entries

ONE = '[[route]]\ngroup = "239.5.5.1"\niif = "eth1"\noifs = ["eth2"]\n'
TWO = '[[route]]\nsource = "10.1.0.10"\ngroup = "239.5.5.2"\niif = "eth1"\noifs = ["eth2"]\n'
IN_TWO = Route("10.1.0.10", "239.5.5.2")


JOINS = '[[membership]]\nsource = "10.1.0.10"\ngroup = "232.5.5.1"\ninterface = "eth1"\n'
JOINS_TOO = '[[membership]]\ngroup = "ff3e::5"\ninterface = "eth1"\npersistent = false\n'
IN_JOINS = Membership("232.5.5.1", "10.1.0.10")
JOINED = Member("eth1", "232.5.5.1", frozenset({"10.1.0.10"}))
JOINED_TOO = Member("eth1", "ff3e::5")


@pytest.fixture
def directory(own_daemon: Daemon) -> Path:
    path = own_daemon.home / "configuration" / "routes.d"
    path.mkdir()
    return path


async def shown(caller: Caller) -> dict[str, dict[str, str]]:
    return {route[1]: route[4] for route in await caller.get("Routes")}


CONFIG = {"state": "active", "origin": "config"}


async def test_files_come_and_go_with_a_reload(
    own_bus: PrivateBus, own_daemon: Daemon, directory: Path
) -> None:
    async with Caller.at(own_bus.address) as root:
        await root.add()
        (directory / "10-one.toml").write_text(ONE)
        (directory / "20-two.toml").write_text(TWO)
        (directory / "ignored.txt").write_text("?")
        await root.reload()
        of_bus = {ROUTE.group: {"state": "active"}}
        assert await shown(root) == of_bus | {"239.5.5.1": CONFIG, "239.5.5.2": CONFIG}
        await root.follow()
        await root.reload()
        (directory / "10-one.toml").unlink()
        await root.reload()
        await root.ping()
        assert [len(routes) for (routes,) in root.told("RoutesRemoved")] == [1]
        assert root.told("RoutesChanged") == root.told("RoutesAdded") == []
        assert await shown(root) == of_bus | {"239.5.5.2": CONFIG}


async def test_a_broken_file_is_named_with_line_and_key_and_the_old_routes_stay(
    own_bus: PrivateBus, own_daemon: Daemon, directory: Path
) -> None:
    path, other = directory / "a.toml", directory / "b.toml"
    path.write_text(ONE)
    async with Caller.at(own_bus.address) as root:
        await root.reload()
        path.write_text(TWO.replace('"eth1"', "1"))
        other.write_text("x = 3\n")
        sentence = f'{path}: line 4: route[0].iif: 1 is not a string, such as "eth1"\n'
        sentence += f"{other}: line 1: x: "
        await refused(root.reload(), f"{OWN}.ConfigError", sentence)
        path.write_text(TWO)
        other.write_text(TWO)
        sentence = f"{other}: line 1: route[0]: Route (10.1.0.10, 239.5.5.2) is in {path} already"
        await refused(root.reload(), f"{OWN}.ConfigError", sentence)
        other.write_text(ONE.replace('"239.5.5.1"', '"ff3e::1"').replace('"eth2"', '"lo"'))
        await refused(root.reload(), f"{OWN}.ConfigError", "not forwarded from or to 'lo'")
        assert await shown(root) == {"239.5.5.1": CONFIG}


async def test_the_problems_of_all_files_are_told_at_once(
    own_bus: PrivateBus, own_daemon: Daemon, directory: Path
) -> None:
    own_daemon.configure("x = 1\n")
    (directory / "a.toml").write_text("?\n")
    (directory / "b.toml").write_text("y = 3\n")
    async with Caller.at(own_bus.address) as root:
        for sentence in ("line 1: 'x' is no", "a.toml: line 1: '?' is", "b.toml: line 1: y: is"):
            await refused(root.reload(), f"{OWN}.ConfigError", sentence)


async def test_what_only_the_service_can_tell_is_named_with_its_line_too(
    own_bus: PrivateBus, own_daemon: Daemon, directory: Path
) -> None:
    (directory / "a.toml").write_text(ONE)
    path = directory / "b.toml"
    path.write_text(JOINS + ONE.replace(".5.1", ".5.3") + TWO + "table = 7\n")
    async with Caller.at(own_bus.address) as root:
        sentence = f"{path}: line 9: route[1]: "
        await refused(root.reload(), f"{OWN}.ConfigError", sentence)
        assert await shown(root) == {}


async def test_an_interface_that_has_no_room_is_named_with_its_line(
    own_bus: PrivateBus, own_daemon: Daemon, own_network: Namespace, directory: Path
) -> None:
    own_network.ip(*(f"link add name in{n} type veth peer name out{n}" for n in range(16)))
    oifs = json.dumps([f"out{n}" for n in range(16)] + [f"in{n}" for n in range(1, 16)])
    (directory / "a.toml").write_text(ONE.replace('"eth1"', '"in0"').replace('["eth2"]', oifs))
    async with Caller.at(own_bus.address) as root:
        await root.reload()
        other = directory / "b.toml"
        other.write_text("\n" + TWO)
        sentence = f"{other}: line 5: route[0].iif: Interface 'eth1' would be the 33rd"
        await refused(root.reload(), f"{OWN}.ConfigError", sentence)
        assert (await shown(root)).keys() == {"239.5.5.1"}


async def test_the_status_tells_of_problems_and_interfaces_that_are_not_there(
    own_bus: PrivateBus, own_network: Namespace, tmp_path: Path, library: str
) -> None:
    directory = tmp_path / "configuration" / "routes.d"
    directory.mkdir(parents=True)
    broken = directory / "a.toml"
    broken.write_text("?\n")
    with (
        Manager() as manager,
        Daemon(
            own_bus.address, own_network, library=library, home=tmp_path, manager=manager
        ) as daemon,
    ):
        problem = f"a problem in the configuration: {broken}: line 1: '?' is not TOML"
        await asyncio.to_thread(manager.wait_for_status, f"0 routes; {problem}")
        broken.write_text(TWO.replace("eth1", "eht1"))
        async with Caller.at(own_bus.address) as root:
            await root.reload()
            absent = "1 route; configured interfaces that are not there: 'eht1'"
            await asyncio.to_thread(manager.wait_for_status, absent)
            assert f"{broken}: line 4: route[0].iif: There is no interface 'eht1' yet" in daemon.log
            own_network.ip("link add name eht1 type veth peer name eht2")
            await asyncio.to_thread(manager.wait_for_status, "1 route")


@pytest.mark.parametrize("left", ["", "\n", "# nothing\n", "route = []\n"])
async def test_a_file_that_was_left_without_entries_deletes_nothing(
    left: str, own_bus: PrivateBus, own_daemon: Daemon, directory: Path
) -> None:
    path = directory / "a.toml"
    path.write_text(ONE)
    async with Caller.at(own_bus.address) as root:
        await root.reload()
        path.write_text(left)
        sentence = f"{path}: It has no routes and no memberships: delete it, if it is to have none"
        await refused(root.reload(), f"{OWN}.ConfigError", sentence)
        assert await shown(root) == {"239.5.5.1": CONFIG}


async def test_what_goes_with_a_file_that_was_deleted_is_logged(
    own_bus: PrivateBus, own_daemon: Daemon, directory: Path
) -> None:
    path = directory / "a.toml"
    path.write_text(ONE + TWO)
    (directory / "b.toml").write_text(JOINS)
    async with Caller.at(own_bus.address) as root:
        await root.reload()
        path.unlink()
        (directory / "b.toml").write_text(JOINS_TOO)
        await root.reload()
        assert await shown(root) == {}
    gone = f"WARNING: {path} has gone, and with it 2 routes and memberships"
    assert [line for line in own_daemon.log.splitlines() if "has gone" in line] == [gone]


async def test_a_membership_of_a_prefix_is_joined_whole(
    own_bus: PrivateBus, own_daemon: Daemon, directory: Path, own_network: Namespace
) -> None:
    path, other = directory / "a.toml", directory / "b.toml"
    path.write_text('[[membership]]\ngroup = "239.5.6.0/30"\ninterface = "eth1"\n')
    async with Caller.at(own_bus.address) as root:
        await root.reload()
        assert members(own_network) == {Member("eth1", f"239.5.6.{n}") for n in range(4)}
        other.write_text(JOINS + path.read_text())
        sentence = (
            f"{other}: line 5: membership[1]: Membership (*, 239.5.6.0) on 'eth1' is in {path} "
        )
        await refused(root.reload(), f"{OWN}.ConfigError", sentence)


async def test_only_the_file_changes_its_route(
    own_bus: PrivateBus, own_daemon: Daemon, directory: Path
) -> None:
    (directory / "two.toml").write_text(TWO)
    async with Caller.at(own_bus.address) as root:
        await root.reload()
        other = {"source": "10.1.0.10", "group": "239.5.5.2", "iif": "eth2", "oifs": ["eth1"]}
        for call in (
            root.delete(IN_TWO),
            root.change(IN_TWO, enabled=False),
            root.change(IN_TWO, comment=""),
            root.add(IN_TWO._replace(iif="eth2", oifs=["eth1"]), replace=True),
            root.apply({"route": [other]}),
        ):
            await refused(call, f"{OWN}.RouteConfigured", str(directory / "two.toml"))
        await refused(root.add(IN_TWO), f"{OWN}.RouteExists")
        assert await root.flush() == 0
        assert await root.apply("{}", empty=True) == [0, 0, 0]
        same = {"route": [other | {"iif": "eth1", "oifs": ["eth2"]}]}
        await refused(root.apply(same, merge=True), f"{OWN}.RouteConfigured")
        for options in ({"merge": True}, {"remove": True}):
            assert await root.apply(same, persistent=False, **options) == [0, 0, 0]
        assert await shown(root) == {"239.5.5.2": CONFIG}
        (described,) = await root.describe()
        assert described["origin"] == "config"


async def test_a_file_switches_its_route_off_and_on(
    own_bus: PrivateBus, own_daemon: Daemon, own_network: Namespace, directory: Path
) -> None:
    path = directory / "two.toml"
    async with Caller.at(own_bus.address) as root:
        for enabled in (False, True, False):
            path.write_text(f"{TWO}enabled = {json.dumps(enabled)}\n")
            await root.reload()
            off = {"state": "disabled", "enabled": False, "origin": "config"}
            assert await shown(root) == {"239.5.5.2": CONFIG if enabled else off}
            assert bool(entries(own_network, socket.AF_INET)) == enabled


async def test_a_file_takes_the_place_of_what_was_made_over_the_bus(
    own_bus: PrivateBus, own_daemon: Daemon, own_network: Namespace, directory: Path, library: str
) -> None:
    async with Caller.at(own_bus.address) as root:
        await root.add(IN_TWO, comment="by hand")
        await root.add()
        (directory / "two.toml").write_text(TWO)
        await root.reload()
        assert (await shown(root))["239.5.5.2"] == CONFIG
        own_daemon.stop()
        with Daemon(own_bus.address, own_network, library=library, home=own_daemon.home) as daemon:
            both = {ROUTE.group: {"state": "active"}, "239.5.5.2": CONFIG}
            assert await shown(root) == both
            (directory / "two.toml").unlink()
            await root.reload()
            assert await shown(root) == {ROUTE.group: {"state": "active"}}
            await root.add(IN_TWO)
            (directory / "two.toml").write_text(TWO)
            daemon.stop()
        # Also where the file came while nobody looked.
        with Daemon(own_bus.address, own_network, library=library, home=own_daemon.home) as daemon:
            assert await shown(root) == both
            (directory / "two.toml").unlink()
            daemon.stop()
        with Daemon(own_bus.address, own_network, library=library, home=own_daemon.home):
            assert await shown(root) == {ROUTE.group: {"state": "active"}}


async def test_a_start_goes_without_the_files_that_are_broken(
    own_bus: PrivateBus, own_daemon: Daemon, own_network: Namespace, directory: Path, library: str
) -> None:
    (directory / "one.toml").write_text(ONE)
    (directory / "two.toml").write_text("?")
    waits = json.dumps("eth77")
    (directory / "three.toml").write_text(TWO.replace('"eth1"', waits))
    own_daemon.stop()
    async with Caller.at(own_bus.address) as root:
        with Daemon(own_bus.address, own_network, library=library, home=own_daemon.home) as daemon:
            states = {group: each["state"] for group, each in (await shown(root)).items()}
            assert states == {"239.5.5.1": "active", "239.5.5.2": "waiting"}
            assert f"{directory / 'two.toml'}: line 1: '?' is not TOML" in daemon.log


# Memberships


async def origins(caller: Caller) -> dict[str, str]:
    return {one["group"]: one.get("origin", "bus") for one in await caller.get("Memberships")}


async def test_memberships_come_and_go_with_their_files(
    own_bus: PrivateBus, own_daemon: Daemon, own_network: Namespace, directory: Path
) -> None:
    async with Caller.at(own_bus.address) as root:
        await root.join()
        by_bus = Member("eth1", MEMBERSHIP.group)
        (directory / "one.toml").write_text(ONE + JOINS)
        (directory / "two.toml").write_text(JOINS_TOO)
        await root.reload()
        assert members(own_network) == {by_bus, JOINED, JOINED_TOO}
        assert await shown(root) == {"239.5.5.1": CONFIG}
        assert await origins(root) == {
            MEMBERSHIP.group: "bus",
            "232.5.5.1": "config",
            "ff3e::5": "config",
        }
        (directory / "one.toml").write_text(ONE)
        await root.reload()
        assert members(own_network) == {by_bus, JOINED_TOO}
        (directory / "two.toml").unlink()
        await root.reload()
        assert members(own_network) == {by_bus}


async def test_only_the_file_changes_its_membership(
    own_bus: PrivateBus, own_daemon: Daemon, own_network: Namespace, directory: Path
) -> None:
    path, other = directory / "one.toml", directory / "two.toml"
    path.write_text(JOINS)
    async with Caller.at(own_bus.address) as root:
        await root.reload()
        entry = {"group": "232.5.5.1", "source": "10.1.0.10", "interface": "eth1"}
        for call in (root.leave(IN_JOINS), root.apply({"membership": [entry]})):
            await refused(call, f"{OWN}.MembershipConfigured", str(path))
        await refused(root.join(IN_JOINS), f"{OWN}.MembershipExists")
        assert await root.flush() == 0
        assert await root.apply("{}", empty=True) == [0, 0, 0]
        (described,) = await root.describe(what="membership")
        assert described == entry | {"state": "joined", "origin": "config"}
        other.write_text(ONE + JOINS)
        sentence = f"{other}: line 5: membership[0]: Membership (10.1.0.10, 232.5.5.1) on 'eth1' is"
        await refused(root.reload(), f"{OWN}.ConfigError", f"{sentence} in {path} already")
        other.write_text(JOINS_TOO.replace('"eth1"', '"a/b"'))
        await refused(root.reload(), f"{OWN}.ConfigError", "'a/b' is not an interface name")
        assert members(own_network) == {JOINED}


async def test_memberships_of_files_are_joined_at_the_start_and_never_stored(
    own_bus: PrivateBus, own_daemon: Daemon, own_network: Namespace, directory: Path, library: str
) -> None:
    async with Caller.at(own_bus.address) as root:
        await root.join(IN_JOINS, comment="by hand")
        (directory / "one.toml").write_text(JOINS + JOINS_TOO)
        await root.reload()
        both = {"232.5.5.1": "config", "ff3e::5": "config"}
        assert await origins(root) == both
        own_daemon.stop()
        with Daemon(own_bus.address, own_network, library=library, home=own_daemon.home) as daemon:
            assert await origins(root) == both
            assert members(own_network) == {JOINED, JOINED_TOO}
            (directory / "one.toml").unlink()
            daemon.stop()
        with Daemon(own_bus.address, own_network, library=library, home=own_daemon.home) as daemon:
            assert await origins(root) == {}
            await root.join(IN_JOINS)
            (directory / "one.toml").write_text(JOINS)
            daemon.stop()
        # Also where the file came while nobody looked.
        with Daemon(own_bus.address, own_network, library=library, home=own_daemon.home):
            assert await origins(root) == {"232.5.5.1": "config"}
            (directory / "one.toml").unlink()
            await root.reload()
            assert members(own_network) == set()
