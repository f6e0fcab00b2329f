"""How the daemon starts and ends, and what it leaves."""

import asyncio
import json
import resource
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from lab.bus import PrivateBus
from lab.caller import Caller, Route
from lab.daemon import BUS_NAME, Daemon
from lab.manager import Manager
from lab.netns import Namespace
from lab.witness import entries, vifs

STOPPED, FAILED, NAME_TAKEN, BUS_LOST = 0, 1, 3, 4  # mfc-dbusd --help
ROUTES = [Route(), Route("*", "ff1e::123")]
NOWHERE = "unix:path=/nowhere/to/be/found"
CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


def in_kernel(network: Namespace) -> int:
    """How many entries and VIFs there are."""
    families = (socket.AF_INET, socket.AF_INET6)
    return sum(len(entries(network, each)) + len(vifs(network, each)) for each in families)


# It ends


async def test_told_to_stop_in_the_middle_of_a_change_it_stores_all_or_nothing_of_it(
    own_bus: PrivateBus, own_network: Namespace, tmp_path: Path
) -> None:
    for name in ("state", "runtime", "configuration"):
        (tmp_path / name).mkdir()
    routes = [{"source": "10.0.0.1", "group": f"239.2.{n >> 8}.{n & 255}"} for n in range(3000)]
    text = json.dumps({"route": [each | {"iif": "eth1", "oifs": ["eth2"]} for each in routes]})
    with Manager() as manager:
        with Daemon(own_bus.address, own_network, home=tmp_path, manager=manager) as daemon:
            begun = len(manager.extended)
            assert begun == 1
            async with Caller.at(own_bus.address) as caller:
                applying = asyncio.create_task(caller.apply(text))
                while not entries(own_network, socket.AF_INET):  # noqa: ASYNC110 - no event tells
                    await asyncio.sleep(0)
                assert await asyncio.to_thread(daemon.stop) == STOPPED
                answer = (await asyncio.gather(applying, return_exceptions=True))[0]
            assert len(manager.extended) == 2
        with Daemon(own_bus.address, own_network, home=tmp_path):
            async with Caller.at(own_bus.address) as caller:
                there = len(await caller.describe())
        assert there == (3000 if answer == [3000, 0, 0] else 0)


def test_without_a_bus_it_does_not_start(own_network: Namespace, library: str) -> None:
    with Daemon(NOWHERE, own_network, library=library, wait=False) as daemon:
        assert daemon.process.wait(20) == FAILED
        assert (
            daemon.log == f"ERROR: Cannot serve {BUS_NAME}: [Errno 2] No such file or directory\n"
        )


def test_with_an_address_of_the_wrong_form_it_does_not_start(
    own_network: Namespace, library: str
) -> None:
    for address in ("nowhere", "tcp:host=localhost,port=1", "unix:path="):
        with Daemon(address, own_network, library=library, wait=False) as daemon:
            assert daemon.process.wait(20) == FAILED
            assert daemon.log.startswith(f"ERROR: Cannot serve {BUS_NAME}: ")
            assert daemon.log.count("\n") == 1


def test_where_the_bus_does_not_let_it_have_the_name_it_does_not_start(
    own_bus: PrivateBus, own_network: Namespace, library: str, nobody: int
) -> None:
    with Daemon(own_bus.address, own_network, uid=nobody, library=library, wait=False) as daemon:
        assert daemon.process.wait(20) == FAILED
        assert f"ERROR: Cannot serve {BUS_NAME}: " in daemon.log
        assert "to own" in daemon.log  # words of the bus


def test_where_another_has_the_name_it_says_so_and_ends(
    own_bus: PrivateBus, own_daemon: Daemon, network: Namespace, library: str
) -> None:
    with Daemon(own_bus.address, network, library=library, wait=False) as second:
        assert second.process.wait(20) == NAME_TAKEN
        assert f"ERROR: Another process owns the name {BUS_NAME}\n" in second.log
    assert own_daemon.process.poll() is None


@pytest.mark.parametrize(
    ("end", "status", "last_words"),
    [
        (lambda bus, daemon: daemon.process.terminate(), STOPPED, "INFO: Stopped"),
        (lambda bus, daemon: bus.stop(), BUS_LOST, "ERROR: Stopping, because the bus has gone: "),
        (lambda bus, daemon: daemon.process.kill(), -9, ""),
    ],
    ids=["told to", "bus gone", "killed"],
)
async def test_its_routes_end_with_it(
    end: Callable[[PrivateBus, Daemon], None],
    status: int,
    last_words: str,
    own_bus: PrivateBus,
    own_daemon: Daemon,
    own_network: Namespace,
) -> None:
    async with Caller.at(own_bus.address) as caller:
        await caller.add_all(ROUTES)
    assert in_kernel(own_network) == 6
    end(own_bus, own_daemon)
    assert own_daemon.process.wait(20) == status
    assert last_words in own_daemon.log.splitlines()[-1]
    assert in_kernel(own_network) == 0


async def test_a_bus_that_does_not_let_its_user_in_is_quoted(
    own_network: Namespace, library: str, bus_program: str, nobody: int, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.conf"
    policy.write_text(
        f'<busconfig><policy context="mandatory"><deny user="{nobody}"/></policy></busconfig>'
    )
    with (
        PrivateBus(bus_program, includes=[policy]) as bus,
        Daemon(bus.address, own_network, uid=nobody, library=library, wait=False) as daemon,
    ):
        assert daemon.process.wait(20) == FAILED
        assert f"ERROR: Cannot serve {BUS_NAME}: the bus hung up on uid {nobody}" in daemon.log
        assert "policy does not let this user in" in daemon.log


async def test_a_bus_that_rejects_its_user_is_quoted(
    own_network: Namespace, library: str, tmp_path: Path
) -> None:
    async def reject(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"REJECTED DBUS_COOKIE_SHA1\r\n")
        writer.close()

    path = tmp_path / "bus"
    async with await asyncio.start_unix_server(reject, path):
        with Daemon(f"unix:path={path}", own_network, library=library, wait=False) as daemon:
            assert await asyncio.to_thread(daemon.process.wait, 20) == FAILED
            said = "the bus does not let uid 0 in, and says 'REJECTED DBUS_COOKIE_SHA1'"
            assert daemon.log == f"ERROR: Cannot serve {BUS_NAME}: {said}\n"


def test_with_too_few_files_to_open_it_says_so_at_once(
    own_bus: PrivateBus, own_network: Namespace, library: str
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (63, limits[1]))
    try:
        daemon = Daemon(own_bus.address, own_network, library=library, wait=False)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    with daemon:
        assert daemon.process.wait(20) == FAILED
        assert daemon.log == (
            f"ERROR: Cannot serve {BUS_NAME}: it may open 63 files (LimitNOFILE= of the unit), "
            "and needs 64\n"
        )


# It has no power


def test_it_has_no_capability_left(own_daemon: Daemon) -> None:
    status = own_daemon.status()
    assert {name: int(status[name], 16) for name in CAPABILITIES} == dict.fromkeys(CAPABILITIES, 0)
    assert status["NoNewPrivs"] == "1"
    assert status["Threads"] == "1"


async def test_it_works_without(
    own_bus: PrivateBus, own_daemon: Daemon, own_network: Namespace
) -> None:
    async with Caller.at(own_bus.address) as caller:
        await caller.add_all(ROUTES)
        assert in_kernel(own_network) == 6
        assert len(await caller.get("Interfaces")) == 4
        for route in ROUTES:
            await caller.delete(route)
    assert in_kernel(own_network) == 0
