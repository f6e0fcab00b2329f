"""A route that was acknowledged stays: through kill -9, a stop, a full disk and a damaged file.

The test plays systemd: it keeps the daemon's sockets, and hands them to the next process.
"""

import asyncio
import os
import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from lab import witness
from lab.bus import PrivateBus
from lab.caller import MEMBERSHIP, OWN, ROUTE, Caller, Membership, Route, refused
from lab.daemon import Daemon
from lab.faults import ALL, Faults
from lab.flows import Flows
from lab.manager import Manager
from lab.netns import Namespace
from lab.stage import STREAMS, Network

from mfc_dbus.kernel.mroute import MRoute

SOCKETS = ("mroute-ipv4", "mroute-ipv6")
DURABLE = ROUTE
TRANSIENT = Route("*", "ff1e::123")
TIMED = Route(group="239.1.2.4")
MINUTES = 600  # seconds
FAMILIES = (socket.AF_INET, socket.AF_INET6)


class Host:
    """A machine on which the daemon dies and is started again."""

    def __init__(self, bus: PrivateBus, network: Namespace, home: Path, library: str) -> None:
        self.bus = bus
        self.network = network
        self.home = home
        self.library = library
        self.stack = ExitStack()

    def start(
        self, manager: Manager | None = None, environment: Mapping[str, str] | None = None
    ) -> Daemon:
        """Start it; it is stopped at the end, if it was not before."""
        daemon = Daemon(
            self.bus.address,
            self.network,
            library=self.library,
            home=self.home,
            manager=manager,
            environment=environment,
        )
        return self.stack.enter_context(daemon)

    def groups(self) -> set[str]:
        """The groups that have entries in the kernel."""
        return {
            entry.group for family in FAMILIES for entry in witness.entries(self.network, family)
        }


@pytest.fixture
def host(
    own_bus: PrivateBus, own_network: Namespace, tmp_path: Path, library: str
) -> Iterator[Host]:
    host = Host(own_bus, own_network, tmp_path, library)
    with host.stack:
        yield host


async def add_three(host: Host, manager: Manager | None = None) -> None:
    """Add three routes. manager: waits until it keeps the sockets."""
    async with Caller.at(host.bus.address) as caller:
        await caller.add(DURABLE, ttls={"eth2": 9}, comment="durable")
        await caller.add(TRANSIENT, persistent=False)
        await caller.add(TIMED, timeout=MINUTES)
    if manager:
        manager.wait_for(*SOCKETS)


async def routes(host: Host) -> list[object]:
    async with Caller.at(host.bus.address) as caller:
        shown: list[object] = await caller.get("Routes")
    return shown


# What survives what


async def test_what_was_acknowledged_is_there_after_kill_9(host: Host) -> None:
    daemon = host.start()
    await add_three(host)
    before = await routes(host)
    daemon.kill()
    assert host.groups() == set()
    host.start()
    assert host.groups() == {DURABLE.group, TRANSIENT.group, TIMED.group}
    assert sorted(map(repr, await routes(host))) == sorted(map(repr, before))


async def test_a_stop_takes_the_routes_from_the_kernel_and_a_start_brings_them_back(
    host: Host,
) -> None:
    daemon = host.start()
    await add_three(host)
    assert daemon.stop() == 0
    assert host.groups() == set()
    host.start()
    assert host.groups() == {DURABLE.group, TRANSIENT.group, TIMED.group}


async def test_transient_and_timed_routes_end_with_the_runtime_directory(host: Host) -> None:
    daemon = host.start()
    await add_three(host)
    daemon.stop()
    shutil.rmtree(host.home / "runtime")
    host.start()
    assert host.groups() == {DURABLE.group}


async def test_what_was_deleted_or_made_transient_does_not_come_back(host: Host) -> None:
    daemon = host.start()
    await add_three(host)
    async with Caller.at(host.bus.address) as caller:
        await caller.add(DURABLE, persistent=False, replace=True)
        await caller.add(TRANSIENT, replace=True)
        await caller.delete(TIMED)
    daemon.kill()
    daemon = host.start()
    assert host.groups() == {DURABLE.group, TRANSIENT.group}
    daemon.kill()
    shutil.rmtree(host.home / "runtime")
    host.start()
    assert host.groups() == {TRANSIENT.group}


# Time


async def test_a_timed_route_goes_when_its_time_has_run_out(host: Host) -> None:
    host.start()
    async with Caller.at(host.bus.address) as caller:
        await caller.follow()
        await caller.add(DURABLE)
        await caller.add(TIMED, timeout=3)
        assert host.groups() == {DURABLE.group, TIMED.group}
        await caller.until(lambda: bool(caller.told("RoutesRemoved")))
    assert host.groups() == {DURABLE.group}


async def test_a_timed_route_goes_when_its_time_has_run_out_while_nobody_served(
    host: Host,
) -> None:
    daemon = host.start()
    async with Caller.at(host.bus.address) as caller:
        await caller.follow()
        await caller.add(TIMED, timeout=1)
        expires = time.monotonic() + 1
        daemon.kill()
        time.sleep(max(0, expires - time.monotonic()))  # noqa: ASYNC251 - that is what is tested
        host.start()
        await caller.until(lambda: bool(caller.told("RoutesRemoved")))
        assert await caller.get("Routes") == []
    assert host.groups() == set()


# KeptSockets that outlive the process


@pytest.mark.parametrize("ends", ["killed", "stopped"])
def test_nothing_is_lost_while_one_process_follows_another(
    own_bus: PrivateBus, tmp_path: Path, library: str, ends: str
) -> None:
    with ExitStack() as stack:
        network = Network(stack)
        host = Host(own_bus, network.router, tmp_path, library)
        manager = stack.enter_context(Manager())
        stack.enter_context(host.stack)
        daemon = host.start(manager)
        asyncio.run(add_streams(own_bus))
        manager.wait_for(*SOCKETS)
        flows = Flows(stack, network)
        flows.go_on()
        for _ in range(2):
            (daemon.kill if ends == "killed" else daemon.stop)()
            flows.go_on()
            daemon = host.start(manager)
            flows.go_on()
        flows.stop()
        print(f"{library}, {ends}: sent {[*flows.sent.values()]}, lost {sum(flows.wrong.values())}")
        assert flows.wrong == {}
        assert flows.counters() == flows.sent
        assert network.entries() == {stream.entry for stream in STREAMS}
        assert "Traceback" not in daemon.log


async def add_streams(bus: PrivateBus) -> None:
    async with Caller.at(bus.address) as caller:
        await caller.add_all([Route(s.source, s.group, "up", s.oifs) for s in STREAMS])


async def test_a_socket_that_nobody_knows_is_closed_and_removed(host: Host) -> None:
    with Manager() as manager, socket.socket() as stranger:
        manager.keep("stranger", stranger.fileno())
        daemon = host.start(manager)
        manager.wait_for(*SOCKETS)
        assert inode(stranger) not in sockets_of(daemon)
        assert "Closing the socket 'stranger'" in daemon.log
        daemon.kill()


async def test_the_sockets_are_kept_before_it_says_that_it_is_ready(host: Host) -> None:
    with Manager() as manager:
        daemon = host.start(manager)
        manager.wait_until_ready(1)
        assert manager.kept_when_ready == {*SOCKETS}
        daemon.kill()


async def test_a_kept_socket_that_does_not_own_its_table_is_no_reason_to_think_so(
    host: Host,
) -> None:
    with host.network:
        given_up, another = MRoute(socket.AF_INET), MRoute(socket.AF_INET)
    with Manager() as manager, given_up:
        manager.keep(SOCKETS[0], given_up.fileno())
        with another:
            another.init()
            daemon = host.start(manager)
            async with Caller.at(host.bus.address) as caller:
                await refused(caller.add(), f"{OWN}.TableBusy", "Another program owns the ipv4")
        manager.wait_for(*SOCKETS)
        await add_three(host)
        assert host.groups() == {DURABLE.group, TRANSIENT.group, TIMED.group}
        daemon.kill()


async def test_a_kept_socket_of_another_kind_takes_no_more_than_its_table_away(host: Host) -> None:
    with Manager() as manager, socket.socket() as stranger:
        manager.keep(SOCKETS[0], stranger.fileno())
        daemon = host.start(manager)
        async with Caller.at(host.bus.address) as caller:
            await refused(caller.add(), f"{OWN}.KernelError", "does not route ipv4 multicast")
            await caller.add(TRANSIENT, persistent=False)
        manager.wait_for(SOCKETS[1])
        daemon.kill()
        host.start(manager)
        async with Caller.at(host.bus.address) as caller:
            await caller.add()
        assert host.groups() == {DURABLE.group, TRANSIENT.group}


async def test_where_the_store_was_emptied_it_begins_anew(host: Host) -> None:
    with Manager() as manager:
        daemon = host.start(manager)
        await add_three(host, manager)
        daemon.kill()
        assert host.groups() == {DURABLE.group, TRANSIENT.group, TIMED.group}
        manager.forget_all()
        assert host.groups() == set()
        daemon = host.start(manager)
        assert host.groups() == {DURABLE.group, TRANSIENT.group, TIMED.group}
        daemon.kill()


async def test_what_was_not_acknowledged_is_taken_from_a_kept_socket(host: Host) -> None:
    """The old process died between the kernel and the disk."""
    with Manager() as manager:
        daemon = host.start(manager)
        await add_three(host, manager)
        daemon.kill()
        database = sqlite3.connect(host.home / "state" / "routes.db")
        with closing(database), database:
            database.execute("DELETE FROM kept WHERE life = ''")
        daemon = host.start(manager)
        assert host.groups() == {TRANSIENT.group, TIMED.group}
        daemon.kill()


async def test_a_table_that_the_configuration_gave_up_is_not_kept(host: Host) -> None:
    with Manager() as manager:
        daemon = host.start(manager)
        await add_three(host, manager)
        daemon.configure('tables = ["ipv6"]')
        async with Caller.at(host.bus.address) as caller:
            await caller.reload()
        manager.wait_for(SOCKETS[1])
        daemon.configure("")
        daemon.kill()
        daemon = host.start(manager)
        assert host.groups() == {DURABLE.group, TRANSIENT.group, TIMED.group}
        daemon.kill()


async def test_a_table_that_the_configuration_does_not_want_any_more_is_left_at_the_start(
    host: Host,
) -> None:
    with Manager() as manager:
        daemon = host.start(manager)
        await add_three(host, manager)
        daemon.configure('tables = ["ipv6"]')
        daemon.kill()
        daemon = host.start(manager)
        assert host.groups() == {TRANSIENT.group}
        manager.wait_for(SOCKETS[1])
        daemon.kill()


def inode(sock: socket.socket) -> str:
    return f"socket:[{os.fstat(sock.fileno()).st_ino}]"


def sockets_of(daemon: Daemon) -> list[str]:
    directory = Path(f"/proc/{daemon.process.pid}/fd")
    return [str(path.readlink()) for path in directory.iterdir()]


# Disks


@pytest.fixture
def small_disks(host: Host) -> Iterator[Host]:
    """The state and the runtime directory are file systems of 256 KiB."""
    with ExitStack() as stack:
        for name in ("state", "runtime"):
            directory = host.home / name
            directory.mkdir()
            mounted = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(directory)],
                capture_output=True,
                text=True,
            )
            if mounted.returncode:
                pytest.skip(f"this system does not let us mount: {mounted.stderr}")
            stack.callback(subprocess.run, ["umount", "--lazy", str(directory)], check=True)
        with host.stack:
            yield host


def make_read_only(directory: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(directory)], check=True)


def fill(directory: Path) -> Path:
    """Leave no room; the file that took it."""
    path = directory / "filler"
    with path.open("wb", 0) as file:
        for size in (4096, 512, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return path


async def test_on_a_full_disk_changes_fail_whole_and_the_rest_goes_on(small_disks: Host) -> None:
    host = small_disks
    daemon = host.start()
    async with Caller.at(host.bus.address) as caller:
        await caller.add(DURABLE)
        filler = fill(host.home / "state")
        another = Route(group="239.9.9.9")
        await refused(caller.add(another), f"{OWN}.StoreError", "disk is full")
        await refused(caller.delete(DURABLE), f"{OWN}.StoreError", "disk is full")
        await refused(caller.flush(), f"{OWN}.StoreError", "disk is full")
        await refused(caller.add(another, persistent=False), f"{OWN}.StoreError", "disk is full")
        assert host.groups() == {DURABLE.group}
        daemon.kill()
        daemon = host.start()
        assert host.groups() == {DURABLE.group}
    async with Caller.at(host.bus.address) as caller:
        filler.unlink()
        await caller.add(Route(group="239.1.1.1"))
    daemon.kill()
    host.start()
    assert host.groups() == {DURABLE.group, "239.1.1.1"}


async def test_a_timed_route_whose_end_cannot_be_stored_is_tried_again(small_disks: Host) -> None:
    host = small_disks
    daemon = host.start()
    async with Caller.at(host.bus.address) as caller:
        await caller.follow()
        await caller.add(TIMED, timeout=1)
        filler = fill(host.home / "state")
        while "stays" not in daemon.log:
            await caller.ping()
            assert daemon.process.poll() is None
        assert host.groups() == {TIMED.group}
        filler.unlink()
        await caller.until(lambda: bool(caller.told("RoutesRemoved")))
    assert host.groups() == set()
    assert "Traceback" not in daemon.log


async def test_a_read_only_directory_is_read_and_changes_fail_whole(small_disks: Host) -> None:
    host = small_disks
    daemon = host.start()
    async with Caller.at(host.bus.address) as caller:
        await caller.add(DURABLE)
    daemon.kill()
    make_read_only(host.home / "state")
    daemon = host.start()
    assert host.groups() == {DURABLE.group}
    async with Caller.at(host.bus.address) as caller:
        await refused(caller.add(TIMED), f"{OWN}.StoreError", "readonly")
        await refused(caller.delete(DURABLE), f"{OWN}.StoreError", "readonly")
        assert host.groups() == {DURABLE.group}
        await caller.add(TRANSIENT, persistent=False)
        assert host.groups() == {DURABLE.group, TRANSIENT.group}


async def test_a_read_only_directory_without_a_database_refuses_and_no_more(
    small_disks: Host,
) -> None:
    host = small_disks
    make_read_only(host.home / "state")
    host.start()
    async with Caller.at(host.bus.address) as caller:
        await refused(caller.add(DURABLE), f"{OWN}.StoreError", "unable to open database file")
        assert host.groups() == set()
        await caller.add(TRANSIENT, persistent=False)
        assert host.groups() == {TRANSIENT.group}


# Syncs that fail

CHANGES: dict[str, Callable[[Caller], Awaitable[object]]] = {
    "add": lambda caller: caller.add(Route(group="239.9.9.9")),
    "add transient": lambda caller: caller.add(Route(group="239.9.9.9"), persistent=False),
    "replace": lambda caller: caller.add(DURABLE, replace=True, comment="another"),
    "delete": lambda caller: caller.delete(DURABLE),
    "flush": lambda caller: caller.flush(),
    "apply": lambda caller: caller.apply(
        {
            "route": [{"group": "239.9.9.9", "iif": "eth1", "oifs": ["eth2"]}],
            "membership": [{"group": "239.9.9.9", "interface": "eth2"}],
        }
    ),
    "to transient": lambda caller: caller.add(DURABLE, replace=True, persistent=False),
    "to persistent": lambda caller: caller.add(TRANSIENT, replace=True),
    "join": lambda caller: caller.join(Membership("239.9.9.9")),
    "leave": lambda caller: caller.leave(MEMBERSHIP),
    "reload": lambda caller: caller.reload(),
}


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Faults:
    return Faults(tmp_path_factory.mktemp("faults"))


async def everything(host: Host) -> tuple[object, ...]:
    """What the service says, and what the kernel has."""
    async with Caller.at(host.bus.address) as caller:
        joined = sorted(map(repr, await caller.get("Memberships")))
    return sorted(map(repr, await routes(host))), joined, host.groups()


@pytest.mark.parametrize("failures", [1, ALL])
@pytest.mark.parametrize("name", CHANGES)
async def test_a_change_that_was_refused_when_a_sync_failed_is_not_done_after_kill_9(
    own_bus: PrivateBus,
    own_network: Namespace,
    tmp_path: Path,
    faults: Faults,
    name: str,
    failures: int,
) -> None:
    host = Host(own_bus, own_network, tmp_path, "")
    faults.stop()
    with host.stack:
        daemon = host.start(environment=faults.environment)
        await add_three(host)
        async with Caller.at(own_bus.address) as caller:
            await caller.join()
        before = await everything(host)
        file = tmp_path / "configuration" / "routes.d" / "routes.toml"
        if name == "reload":
            file.parent.mkdir()
            file.write_text(
                f'[[route]]\ngroup = "{DURABLE.group}"\nsource = "{DURABLE.source}"\n'
                'iif = "eth1"\noifs = []\n'
            )
        faults.plan("fdatasync", failures=failures)
        async with Caller.at(own_bus.address) as caller:
            await refused(CHANGES[name](caller), f"{OWN}.StoreError", "I/O error")
        assert faults.failed
        assert await everything(host) == before
        faults.stop()
        file.unlink(missing_ok=True)
        daemon.kill()
        host.start()
        assert await everything(host) == before


# Files that are not as they should be


def garbage(path: Path) -> None:
    path.write_bytes(b"no database, " * 1000)


def cut_off(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def of_another_program(path: Path) -> None:
    path.unlink()
    path.with_name(path.name + "-wal").unlink(missing_ok=True)
    database = sqlite3.connect(path)
    with closing(database), database:
        database.execute("CREATE TABLE theirs (content TEXT)")
        database.execute("INSERT INTO theirs VALUES ('precious')")


@pytest.mark.parametrize("damage", [garbage, cut_off, of_another_program])
async def test_a_file_that_cannot_be_used_is_set_aside_and_never_overwritten(
    host: Host, damage: Callable[[Path], None]
) -> None:
    daemon = host.start()
    async with Caller.at(host.bus.address) as caller:
        await caller.add_all([Route(group=f"239.3.3.{n}") for n in range(100)])
        await caller.add(TRANSIENT, persistent=False)
    everything = host.groups()
    daemon.stop()
    path = host.home / "state" / "routes.db"
    damage(path)
    content = path.read_bytes()
    daemon = host.start()
    (aside,) = path.parent.glob("routes.db.damaged-*")
    assert aside.read_bytes() == content
    assert str(aside) in daemon.log
    groups = host.groups()
    assert groups < everything
    assert bool(groups) == (damage is cut_off), "what can be read is read"
    async with Caller.at(host.bus.address) as caller:
        await caller.add(DURABLE)
    daemon.kill()
    host.start()
    assert host.groups() == groups | {DURABLE.group}
    assert aside.read_bytes() == content


@pytest.mark.parametrize("directory", ["state", "runtime"])
async def test_a_fifo_in_the_place_of_the_store_is_no_reason_to_wait(
    host: Host, directory: str
) -> None:
    path = host.home / directory / "routes.db"
    path.parent.mkdir()
    os.mkfifo(path)
    daemon = host.start()
    assert "no regular file" in daemon.log
    await add_three(host)
    daemon.kill()
    host.start()
    assert host.groups() == {DURABLE.group, TRANSIENT.group, TIMED.group}


async def test_a_row_that_is_no_route_is_left_out_and_said(host: Host) -> None:
    daemon = host.start()
    await add_three(host)
    daemon.kill()
    database = sqlite3.connect(host.home / "state" / "routes.db")
    with closing(database), database:
        database.execute("UPDATE kept SET expires = 'never' WHERE expires > 0")
    daemon = host.start()
    assert host.groups() == {DURABLE.group, TRANSIENT.group}
    assert "1 rows are no valid routes or memberships" in daemon.log
    daemon.kill()
    daemon = host.start()
    assert host.groups() == {DURABLE.group, TRANSIENT.group}
    assert "no valid" not in daemon.log


async def test_a_database_of_a_later_version_is_left_alone(host: Host) -> None:
    daemon = host.start()
    await add_three(host)
    daemon.stop()
    path = host.home / "state" / "routes.db"
    database = sqlite3.connect(path)
    with closing(database):
        database.executescript("UPDATE header SET version = 1000; PRAGMA user_version = 1000")
    content = path.read_bytes()
    host.start()
    assert host.groups() == set()
    async with Caller.at(host.bus.address) as caller:
        await refused(caller.add(DURABLE), f"{OWN}.StoreError", "schema version 1000")
        await caller.add(TRANSIENT, persistent=False)
    assert path.read_bytes() == content
    assert host.groups() == {TRANSIENT.group}


async def test_the_watchdog_hears_of_it_during_a_change_that_takes_long(host: Host) -> None:
    manager = host.stack.enter_context(Manager())
    manager.watchdog = 0.1
    host.start(manager)
    async with Caller.at(host.bus.address) as caller:
        before = manager.alive
        routes = [
            {"group": f"239.2.{n >> 8}.{n & 255}", "iif": "eth1", "oifs": ["eth2"]}
            for n in range(10_000)
        ]
        assert await caller.apply({"route": routes}) == [10_000, 0, 0]
        assert manager.alive - before > 3
