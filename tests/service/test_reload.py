"""The configuration is read again: the smallest change, or none and an error."""

import socket
from collections.abc import Awaitable, Callable

import pytest
from lab.bus import PrivateBus
from lab.caller import INTERFACE, OWN, ROUTE, STANDARD, Caller, Route, refused
from lab.daemon import Daemon
from lab.netns import Namespace
from lab.polkit import DENIALS, YES, Answer, MockPolkit
from lab.witness import Entry, entries, vifs

from mfc_dbus.bus.backend import Variant
from mfc_dbus.kernel.mroute import MRoute
from mfc_dbus.model.members import Action

IPV4, IPV6 = socket.AF_INET, socket.AF_INET6
OTHER = Route("fd01::10", "ff1e::123")
IN_IPV4 = {Entry("10.1.0.10", "239.1.2.3", "eth1", frozenset({("eth2", 1)}))}
IN_IPV6 = {Entry("fd01::10", "ff1e::123", "eth1", frozenset({("eth2", 1)}))}
ONLY_IPV4 = 'tables = ["ipv4"]\n'
# Something that a reload would change, and be seen to.
ONE_ROUTE = "limits.routes = 1\n"


async def states(caller: Caller) -> dict[str, str]:
    return {route[1]: route[4]["state"] for route in await caller.get("Routes")}


def changed(caller: Caller) -> list[dict[str, str]]:
    """What each RoutesChanged told."""
    told = caller.told("RoutesChanged")
    return [{route[1]: route[4]["state"] for route in routes} for (routes,) in told]


# What is refused


@DENIALS
async def test_a_stranger_may_not(
    answer: Answer | None, error: str, own_bus: PrivateBus, own_daemon: Daemon, nobody: int
) -> None:
    own_daemon.configure(ONLY_IPV4)
    async with Caller.at(own_bus.address, nobody) as stranger:
        if answer is None:
            await refused(stranger.reload(), f"{STANDARD}.{error}")
        else:
            async with MockPolkit.at(own_bus.address, answer) as polkit:
                await refused(stranger.reload(), f"{STANDARD}.{error}")
                check = await polkit.asked.get()
                assert (check.action, check.details) == (Action.RELOAD, {})
        assert [table["state"] for table in await stranger.get("Tables")] == ["active", "active"]


async def test_a_stranger_is_not_told_what_is_wrong_with_the_file(
    own_bus: PrivateBus, own_daemon: Daemon, nobody: int
) -> None:
    own_daemon.configure("secret = 1\n")
    async with Caller.at(own_bus.address, nobody) as stranger:
        await refused(stranger.reload(), f"{STANDARD}.AccessDenied", "Not authorised")


async def test_it_takes_no_options(own_bus: PrivateBus, own_daemon: Daemon) -> None:
    async with Caller.at(own_bus.address) as root:
        options = {"force": Variant("b", True)}
        await refused(
            root.ask("Reload", "a{sv}", [options]),
            f"{STANDARD}.InvalidArgs",
            "There is no option 'force'",
        )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("limits.routes = 7\ntables = [", "line 2: 'tables = [' is not TOML: "),
        ("limits.routes = 7\n\ntables = ['ipx']\n", "line 3: 'tables' is not an array of"),
        ("tables = []\n[limits]\nroute = 7\n", "line 3: 'limits.route' is no setting; there are"),
        ("tables = []\n[limits]\nroutes = -7\n", "line 3: 'limits.routes' is not a whole number"),
    ],
)
async def test_a_broken_file_is_named_by_line_and_key_and_the_old_settings_stay(
    text: str, sentence: str, own_bus: PrivateBus, own_daemon: Daemon, own_network: Namespace
) -> None:
    file = own_daemon.home / "configuration" / "mfc-dbus.toml"
    own_daemon.configure(ONE_ROUTE)
    async with Caller.at(own_bus.address) as root:
        await root.reload()
        await root.add()
        own_daemon.configure(text)
        await root.follow()
        await refused(root.reload(), f"{OWN}.ConfigError", f"{file}: {sentence}")
        assert await states(root) == {ROUTE.group: "active"}
        assert entries(own_network, IPV4) == IN_IPV4
        assert [table["state"] for table in await root.get("Tables")] == ["active", "active"]
        await refused(root.add(OTHER), f"{OWN}.LimitExceeded")
        assert root.told("RoutesChanged") == []


def test_a_start_with_a_broken_file_goes_by_the_defaults_and_says_so(
    own_bus: PrivateBus, own_network: Namespace, own_daemon: Daemon, library: str
) -> None:
    own_daemon.configure("tables = []\n[limits]\nroutes = many\n")
    own_daemon.stop()
    with Daemon(own_bus.address, own_network, library=library, home=own_daemon.home) as daemon:
        error, defaults = [line for line in daemon.log.splitlines() if line.startswith("ERROR")]
    assert "mfc-dbus.toml: line 3: 'routes = many' is not TOML: " in error
    assert defaults.endswith("mfc-dbus.toml has problems: going by the defaults")


# What it does


async def test_who_may_reload_may(own_bus: PrivateBus, own_daemon: Daemon, nobody: int) -> None:
    own_daemon.configure(ONLY_IPV4)
    async with (
        MockPolkit.at(own_bus.address, YES),
        Caller.at(own_bus.address, nobody) as friend,
    ):
        await friend.reload()
        assert [table["state"] for table in await friend.get("Tables")] == ["active", "unavailable"]


async def test_a_table_that_is_left_to_others_is_given_up_and_taken_again(
    own_bus: PrivateBus, own_daemon: Daemon, own_network: Namespace
) -> None:
    async with Caller.at(own_bus.address) as root:
        await root.add_all([ROUTE, OTHER])
        await root.follow()
        own_daemon.configure(ONLY_IPV4)
        await root.reload()
        assert changed(root) == [{OTHER.group: "unavailable"}]
        assert await states(root) == {ROUTE.group: "active", OTHER.group: "unavailable"}
        assert entries(own_network, IPV4) == IN_IPV4
        assert entries(own_network, IPV6) == set()
        assert vifs(own_network, IPV6) == {}
        ipv6 = (await root.get("Tables"))[1]
        leaves = "The configuration leaves the ipv6 multicast routing table alone"
        assert (ipv6["state"], ipv6["reason"], ipv6["routes"]) == ("unavailable", leaves, 1)
        await refused(root.add(OTHER._replace(group="ff1e::124")), f"{OWN}.KernelError", leaves)
        await tables_told(root)

        own_daemon.configure("")
        await root.reload()
        assert changed(root)[1:] == [{OTHER.group: "active"}]
        assert entries(own_network, IPV6) == IN_IPV6
        assert await states(root) == {ROUTE.group: "active", OTHER.group: "active"}
        assert "reason" not in (await root.get("Tables"))[1]


async def tables_told(caller: Caller) -> None:
    """Return when everyone was told that the tables are others than before."""
    await caller.until(
        lambda: any("Tables" in names for _, _, names in caller.told("PropertiesChanged"))
    )


async def test_a_table_that_somebody_took_meanwhile_is_taken_when_he_leaves_it(
    own_bus: PrivateBus, own_daemon: Daemon, own_network: Namespace
) -> None:
    async with Caller.at(own_bus.address) as root:
        await root.add(OTHER)
        own_daemon.configure(ONLY_IPV4)
        await root.reload()
        with own_network:
            other = MRoute(IPV6)
        with other:
            other.init()
            own_daemon.configure("")
            await root.reload()
            ipv6 = (await root.get("Tables"))[1]
            assert ipv6["reason"] == "Another program owns the ipv6 multicast routing table"
            assert await states(root) == {OTHER.group: "unavailable"}
            await root.follow()
        await root.until(lambda: changed(root) == [{OTHER.group: "active"}])
        assert entries(own_network, IPV6) == IN_IPV6


@pytest.mark.parametrize(
    "delete",
    [
        lambda root: root.delete(OTHER),
        lambda root: root.flush(group="ff1e::/16"),
    ],
    ids=["delete", "flush"],
)
async def test_routes_of_a_table_that_is_left_to_others_can_be_deleted(
    delete: Callable[[Caller], Awaitable[object]],
    own_bus: PrivateBus,
    own_daemon: Daemon,
    own_network: Namespace,
) -> None:
    async with Caller.at(own_bus.address) as root:
        await root.add_all([ROUTE, OTHER])
        own_daemon.configure(ONLY_IPV4)
        await root.reload()
        await delete(root)
        own_daemon.configure("")
        await root.reload()
        assert await states(root) == {ROUTE.group: "active"}
    assert entries(own_network, IPV6) == set()


async def test_no_more_routes_are_added_than_the_settings_allow(
    own_bus: PrivateBus, own_daemon: Daemon
) -> None:
    async with Caller.at(own_bus.address) as root:
        await root.add_all([ROUTE, OTHER])
        own_daemon.configure(ONE_ROUTE)
        await root.reload()
        # What is there stays, and may change.
        assert await states(root) == {ROUTE.group: "active", OTHER.group: "active"}
        await root.add(comment="another", replace=True)
        third = ROUTE._replace(group="239.1.2.4")
        sentence = "There are 2 routes, and the configuration allows no more"
        await refused(root.add(third), f"{OWN}.LimitExceeded", sentence)
        await root.delete(OTHER)
        await refused(root.add(third), f"{OWN}.LimitExceeded", "There are 1 routes")
        own_daemon.configure("limits.routes = 2")
        await root.reload()
        await root.add(third)
        await refused(root.add(OTHER), f"{OWN}.LimitExceeded", sentence)


async def test_a_reload_that_changes_nothing_tells_nothing(
    own_bus: PrivateBus, own_daemon: Daemon
) -> None:
    async with Caller.at(own_bus.address) as root:
        await root.add_all([ROUTE, OTHER])
        before = await root.get("Generation")
        await root.follow()
        own_daemon.configure('tables = ["ipv6", "ipv4"]\n')
        await root.reload()
        assert await root.get("Generation") == before
        assert not [each for each in root.signals if each.interface == INTERFACE]
