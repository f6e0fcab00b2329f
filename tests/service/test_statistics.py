"""What the service counts of itself."""

from typing import Any

from lab.bus import PrivateBus
from lab.caller import OWN, STANDARD, Caller, plain, refused
from lab.daemon import Daemon

from mfc_dbus.client import Client
from mfc_dbus.model import members


async def statistics(caller: Caller) -> dict[str, Any]:
    (told,) = await caller.ask("GetStatistics")
    values: dict[str, Any] = plain(told)
    return values


async def test_calls_errors_and_commits_are_counted(
    own_daemon: Daemon, own_bus: PrivateBus, nobody: int
) -> None:
    async with Caller.at(own_bus.address) as root, Caller.at(own_bus.address, nobody) as caller:
        before = await statistics(caller)
        assert (before["store-commits"], before["unrouted"]) == (0, 0)
        await root.add()
        await refused(root.add(), f"{OWN}.RouteExists")
        await refused(caller.flush(), f"{STANDARD}.AccessDenied")
        told = await statistics(caller)
        assert told["calls"]["AddRoute"] == 2
        assert {name: n for name, n in told["call-errors"].items() if n} == {
            "AddRoute": 1,
            "FlushRoutes": 1,
        }
        assert told["calls"]["GetStatistics"] == 1  # which is not answered yet is not counted
        assert told["call-seconds"].keys() == told["calls"].keys()
        assert all(seconds > 0 for seconds in told["call-seconds"].values())
        assert (told["store-commits"], told["store-failures"]) == (1, 0)
        assert told["store-seconds"] > 0


async def test_what_strangers_call_is_counted_only_if_there_is_such_a_method(
    own_daemon: Daemon, own_bus: PrivateBus, nobody: int
) -> None:
    known = {name.rpartition(".")[2] for name in members.METHODS}
    async with Caller.at(own_bus.address, nobody) as caller:
        for number in range(100):
            await refused(caller.ask(f"Invent{number}"), f"{STANDARD}.UnknownMethod")
        told = await statistics(caller)
        assert told["calls"].keys() <= known
        async with Client.open(own_bus.address) as client:
            assert (await client.statistics()).calls["GetStatistics"] == 1
