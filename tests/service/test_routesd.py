"""routes.d: what its files say is there, changed by its difference, and by nobody else."""

import json
from pathlib import Path

import pytest
from lab.bus import PrivateBus
from lab.caller import OWN, ROUTE, Caller, Route, refused
from lab.daemon import Daemon
from lab.netns import Namespace

ONE = '[[route]]\ngroup = "239.5.5.1"\niif = "eth1"\noifs = ["eth2"]\n'
TWO = '[[route]]\nsource = "10.1.0.10"\ngroup = "239.5.5.2"\niif = "eth1"\noifs = ["eth2"]\n'
IN_TWO = Route("10.1.0.10", "239.5.5.2")


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
        sentence = f"{path}: line 4: route[0].iif: Expected `str`, got `int`\n{other}: line 1: x: "
        await refused(root.reload(), f"{OWN}.ConfigError", sentence)
        path.write_text(TWO)
        other.write_text(TWO)
        sentence = f"{other}: line 1: route[0]: Route (10.1.0.10, 239.5.5.2) is in {path} already"
        await refused(root.reload(), f"{OWN}.ConfigError", sentence)
        other.write_text(ONE.replace('"eth2"', '"lo"'))
        await refused(root.reload(), f"{OWN}.ConfigError", "'lo' does not carry multicast")
        assert await shown(root) == {"239.5.5.1": CONFIG}


async def test_only_the_file_changes_its_route(
    own_bus: PrivateBus, own_daemon: Daemon, directory: Path
) -> None:
    (directory / "two.toml").write_text(TWO)
    async with Caller.at(own_bus.address) as root:
        await root.reload()
        other = {"source": "10.1.0.10", "group": "239.5.5.2", "iif": "eth2", "oifs": ["eth1"]}
        for call in (
            root.delete(IN_TWO),
            root.add(IN_TWO._replace(iif="eth2", oifs=["eth1"]), replace=True),
            root.apply({"route": [other]}),
        ):
            await refused(call, f"{OWN}.RouteConfigured", str(directory / "two.toml"))
        await refused(root.add(IN_TWO), f"{OWN}.RouteExists")
        assert await root.flush() == 0
        assert await root.apply("{}") == [0, 0, 0]
        assert await shown(root) == {"239.5.5.2": CONFIG}
        (described,) = await root.describe()
        assert described["origin"] == "config"


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
