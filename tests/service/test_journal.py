"""Who did what: the records that the daemon writes to the journal."""

import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from lab.bus import PrivateBus
from lab.caller import ROUTE, Caller, Route
from lab.daemon import Daemon
from lab.journal import JOURNALD, Entry, Journal, Journald
from lab.netns import Namespace

from mfc_dbus.bus.errors import BusError
from mfc_dbus.kernel.mroute import MFCEntry, MRoute
from mfc_dbus.model.journal import Message

# The daemon, with another journal, to which its standard error leads as systemd says it.
_PROGRAM = """\
#!{python}
import os, sys
import mfc_dbus.daemon.main
from mfc_dbus.service import journal
journal.SOCKET = {path!r}
status = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{{status.st_dev}}:{{status.st_ino}}"
sys.exit(mfc_dbus.daemon.main.main([]))
"""


@pytest.fixture
def journal() -> Iterator[Journal]:
    with tempfile.TemporaryDirectory() as directory, Journal(Path(directory) / "socket") as found:
        yield found


@pytest.fixture
def programs(journal: Journal, tmp_path: Path) -> Path:
    """Where a daemon is that writes to this journal."""
    program = tmp_path / "mfc-dbusd"
    program.write_text(_PROGRAM.format(python=sys.executable, path=str(journal.path)))
    program.chmod(0o755)
    return tmp_path


def started(
    stack: ExitStack,
    bus: PrivateBus,
    network: Namespace,
    journal: Journal,
    programs: Path,
    home: Path | None = None,
) -> tuple[Daemon, list[Entry]]:
    """Start a daemon. Return it, and what it has written until it served."""
    daemon = stack.enter_context(
        Daemon(bus.address, network, programs=programs, wait=False, home=home)
    )
    return daemon, journal.until("table is ours") + journal.until("table is ours")


def told(entries: list[Entry], message: Message) -> list[Entry]:
    return [entry for entry in entries if entry.get("MESSAGE_ID") == [message]]


async def test_each_call_is_one_record_that_says_who_it_was(
    own_bus: PrivateBus, own_network: Namespace, journal: Journal, programs: Path
) -> None:
    with ExitStack() as stack:
        daemon, _ = started(stack, own_bus, own_network, journal, programs)
        async with Caller.at(own_bus.address) as root:
            await root.add(ROUTE)
            added = journal.read()
            await root.change(ROUTE, comment="the lobby")
            changed = journal.read()
            await root.delete(ROUTE)
            deleted = journal.read()
            me = {
                "MFC_UID": [str(os.geteuid())],
                "MFC_USER": ["root"],
                "MFC_PID": [str(os.getpid())],
                "MFC_SENDER": [root.unique_name],
                "MFC_CAUSE": ["call"],
                "MFC_RESULT": ["done"],
                "MFC_GROUP": [ROUTE.group],
                "MFC_SOURCE": [ROUTE.source],
            }
        for entry, action, message in (
            (added, "add", Message.ROUTE_ADDED),
            (changed, "change", Message.ROUTE_CHANGED),
            (deleted, "delete", Message.ROUTE_DELETED),
        ):
            assert me.items() <= entry.items()
            assert entry["MFC_ACTION"] == [action]
            assert entry["MESSAGE_ID"] == [message]
        assert "the lobby" in changed["MFC_AFTER"][0]
        assert "the lobby" not in changed["MFC_BEFORE"][0]
        assert "MFC_BEFORE" not in added
        assert "MFC_AFTER" not in deleted
        assert daemon.log == "", "the journal has it all"


async def test_nothing_is_logged_of_what_changes_nothing(
    own_bus: PrivateBus, own_network: Namespace, journal: Journal, programs: Path
) -> None:
    with ExitStack() as stack:
        started(stack, own_bus, own_network, journal, programs)
        async with Caller.at(own_bus.address) as root:
            await root.flush()
            await root.apply("{}", empty=True)
            await root.add(ROUTE)
            journal.read()
            await root.add(ROUTE, replace=True)
            with pytest.raises(BusError):
                await root.add(ROUTE._replace(group="10.0.0.1"))
        assert journal.read_all() == []


async def test_a_flush_a_document_and_a_restart_say_what_they_changed(
    own_bus: PrivateBus, own_network: Namespace, journal: Journal, programs: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    document = """{"route": [
        {"group": "239.1.1.1", "iif": "eth1", "oifs": ["eth2"]},
        {"group": "239.1.1.2", "iif": "eth1", "oifs": ["eth2"]}],
        "membership": [{"group": "239.1.1.1", "interface": "eth1"}]}"""
    with ExitStack() as stack:
        daemon, _ = started(stack, own_bus, own_network, journal, programs, home)
        async with Caller.at(own_bus.address) as root:
            await root.apply(document)
        entries = journal.until("applied a document")
        assert len(told(entries, Message.ROUTE_ADDED)) == 2
        assert len(told(entries, Message.MEMBERSHIP_JOINED)) == 1
        assert {entry["MFC_ACTION"][0] for entry in entries} == {"apply"}
        assert entries[-1]["MFC_ADDED"] == ["3"]
        daemon.kill()
        daemon, entries = started(stack, own_bus, own_network, journal, programs, home)
        (summary,) = told(entries, Message.SUMMARY)
        assert summary["MESSAGE"] == ["Restored 2 routes and 1 membership"]
        restored = told(entries, Message.ROUTE_RESTORED)
        assert {entry["MFC_GROUP"][0] for entry in restored} == {"239.1.1.1", "239.1.1.2"}
        assert {entry["MFC_CAUSE"][0] for entry in restored} == {"start"}
        async with Caller.at(own_bus.address) as root:
            await root.flush()
        entries = journal.until("flushed 2 routes")
        assert len(told(entries, Message.ROUTE_DELETED)) == 2
        assert entries[-1]["MFC_DELETED"] == ["2"]


async def test_what_interfaces_and_time_do_is_told_with_its_cause(
    own_bus: PrivateBus, own_network: Namespace, journal: Journal, programs: Path
) -> None:
    with ExitStack() as stack:
        started(stack, own_bus, own_network, journal, programs)
        async with Caller.at(own_bus.address) as root:
            await root.add(ROUTE)
            journal.read()
            own_network.ip("link set dev eth1 down")
            down = journal.read()
            other = ROUTE._replace(group="239.9.9.9")
            await root.add(other, timeout=1)
        assert down["MESSAGE_ID"] == [Message.ROUTE_STATE]
        assert (down["MFC_CAUSE"], down["MFC_STATE"]) == (["interface"], ["waiting"])
        assert "'eth1'" in down["MFC_REASON"][0]
        expired = journal.until("its time has run out")[-1]
        assert expired["MESSAGE_ID"] == [Message.ROUTE_EXPIRED]
        assert (expired["MFC_CAUSE"], expired["MFC_GROUP"]) == (["expiry"], [other.group])


async def test_who_was_refused_is_told_with_what_he_wanted_and_of_a_flood_only_some(
    own_bus: PrivateBus, own_network: Namespace, journal: Journal, programs: Path, nobody: int
) -> None:
    with ExitStack() as stack:
        started(stack, own_bus, own_network, journal, programs)
        async with Caller.at(own_bus.address, nobody) as stranger:
            for _ in range(50):
                with pytest.raises(BusError, match="uthoris"):
                    await stranger.add(ROUTE)
            await stranger.call_bus("GetId")
        refused = told(journal.until("was refused") + journal.read_all(), Message.REFUSED)
        assert len(refused) == 10
        assert refused[0]["MFC_UID"] == [str(nobody)]
        assert refused[0]["MFC_GROUP"] == [ROUTE.group]
        assert refused[0]["MFC_RESULT"] == ["AccessDenied"]
        assert refused[0]["MFC_ACTION"] == ["add"]


async def test_systemds_journal_finds_a_change_by_its_fields(
    own_bus: PrivateBus, own_network: Namespace, tmp_path: Path
) -> None:
    if not JOURNALD.exists():
        pytest.skip("systemd-journald is not installed")
    with Journald(tmp_path) as journald:
        journald.wait_until_ready()
        program = tmp_path / "mfc-dbusd"
        program.write_text(_PROGRAM.format(python=sys.executable, path=str(journald.socket)))
        program.chmod(0o755)
        with Daemon(own_bus.address, own_network, programs=tmp_path, wait=False):
            journald.find("MESSAGE=Serving org.example.MulticastForwarding")
            async with Caller.at(own_bus.address) as root:
                await root.add(ROUTE._replace(oifs=["eth2"]))
            (entry,) = journald.find(f"MFC_GROUP={ROUTE.group}", "MFC_OIF=eth2")
    assert entry["MESSAGE_ID"] == Message.ROUTE_ADDED
    assert entry["MFC_USER"] == "root"
    assert entry["SYSLOG_IDENTIFIER"] == "mfc-dbusd"


async def test_a_table_that_is_not_ours_and_then_is_has_its_ids(
    own_bus: PrivateBus, own_network: Namespace, journal: Journal, programs: Path
) -> None:
    with ExitStack() as stack:
        with own_network:
            other = stack.enter_context(MRoute(socket.AF_INET))
        other.init()
        stack.enter_context(Daemon(own_bus.address, own_network, programs=programs, wait=False))
        entries = journal.until("Another program owns") + journal.until("table is ours")
        (taken,) = told(entries, Message.TABLE_NOT_OURS)
        assert (taken["MFC_FAMILY"], taken["MFC_TABLE"]) == (["ipv4"], ["0"])
        assert taken["MFC_REASON"] == taken["MESSAGE"]
        (own,) = told(entries, Message.TABLE_OURS)
        assert own["MFC_FAMILY"] == ["ipv6"]
        other.done()
        won = journal.until("ipv4 multicast routing table is ours")[-1]
        assert (won["MESSAGE_ID"], won["MFC_FAMILY"]) == ([Message.TABLE_OURS], ["ipv4"])


async def test_what_somebody_else_changed_has_its_id_and_of_a_flood_only_some_is_told(
    own_bus: PrivateBus, own_network: Namespace, journal: Journal, programs: Path
) -> None:
    number = 300
    with ExitStack() as stack:
        started(stack, own_bus, own_network, journal, programs)
        async with Caller.at(own_bus.address) as root:
            routes = [ROUTE._replace(group=f"239.1.{n >> 8}.{n & 255}") for n in range(number)]
            for route in routes:
                await root.add(route)
                journal.read()
            with own_network:
                stranger = stack.enter_context(MRoute(socket.AF_INET))
            for route in routes:
                stranger.del_mfc(entry_of(route))
            lines = [journal.read()]
            while number_of_foreign_changes(lines) < number:
                lines.append(journal.read())
        told_of = told(lines, Message.FOREIGN_CHANGE)
        assert 0 < len(told_of) < number / 4
        assert told_of[0]["MFC_SOURCE"] == [ROUTE.source]
        assert told_of[0]["MFC_GROUP"][0].startswith("239.1.")
        assert told_of[0]["MFC_TABLE"] == ["0"]


def entry_of(route: Route) -> MFCEntry:
    source, group = (socket.inet_aton(address) for address in (route.source, route.group))
    return MFCEntry(source, group, 0, ())


def number_of_foreign_changes(lines: list[Entry]) -> int:
    left_out = told(lines, Message.LEFT_OUT)
    counted = sum(int(line["MFC_LEFT_OUT"][0]) for line in left_out)
    return counted + len(told(lines, Message.FOREIGN_CHANGE))


async def test_a_damaged_store_and_a_broken_file_have_their_ids(
    own_bus: PrivateBus, own_network: Namespace, journal: Journal, programs: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    for directory in ("state", "configuration"):
        (home / directory).mkdir(parents=True)
    (home / "state/routes.db").write_bytes(b"no database" * 1000)
    (home / "configuration/mfc-dbus.toml").write_text("max-routes = 'many'")
    with ExitStack() as stack:
        _, entries = started(stack, own_bus, own_network, journal, programs, home)
        assert told(entries, Message.STORE_FAILED)
        problems = told(entries, Message.CONFIGURATION)
        assert "max-routes" in problems[0]["MESSAGE"][0]
