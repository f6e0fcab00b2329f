"""What the log says of changes, and how the journal gets it."""

import asyncio
import json
import logging
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from lab.bus import DATA
from lab.journal import Entry, Journal, parse

from mfc_dbus.loop.events import Guard
from mfc_dbus.model import journal as records
from mfc_dbus.model.cause import BY_EXPIRY, BY_INTERFACE, Act, Author, Cause, CauseKind, asked
from mfc_dbus.model.journal import Message, Record
from mfc_dbus.model.membership import parse_membership
from mfc_dbus.model.route import parse_route
from mfc_dbus.model.states import MembershipState, RouteState
from mfc_dbus.model.status import MembershipStatus, Status
from mfc_dbus.service.journal import JournalHandler, encode, fields, leads_to_journal

ALICE = Author(1000, "alice", ":1.7", 4711)
ROUTE = parse_route("10.0.0.1", "239.1.1.1", "eth1", ["eth2", "eth3"], {"eth3": 16})
ACTIVE = Status(ROUTE, RouteState.ACTIVE)
WAITING = Status(ROUTE, RouteState.WAITING, "Interface 'eth1' is missing")
MEMBERSHIP = parse_membership("239.1.1.1", "*", "eth1")


@pytest.fixture
def journal() -> Iterator[Journal]:
    with tempfile.TemporaryDirectory() as directory, Journal(Path(directory) / "socket") as found:
        yield found


@pytest.fixture
def log(journal: Journal) -> Iterator[logging.Logger]:
    """A log that goes to the journal alone."""
    log = logging.Logger("test")
    handler = JournalHandler("mfc-dbusd", str(journal.path))
    log.addHandler(handler)
    yield log
    handler.close()


def test_a_line_has_its_priority_and_the_name_of_the_program(
    log: logging.Logger, journal: Journal
) -> None:
    for level, priority in ((logging.INFO, "6"), (logging.WARNING, "4"), (logging.ERROR, "3")):
        log.log(level, "%s\n of two lines = %d", "a remark", 2)
        assert journal.read() == {
            "MESSAGE": ["a remark\n of two lines = 2"],
            "PRIORITY": [priority],
            "SYSLOG_IDENTIFIER": ["mfc-dbusd"],
        }


def test_a_change_has_a_field_for_all_that_one_may_look_for(
    log: logging.Logger, journal: Journal
) -> None:
    log.info("x", extra={"about": records.record(asked(Act.ADD, ALICE), None, ACTIVE)})
    entry = {name: values for name, values in journal.read().items() if name[:3] in ("MES", "MFC")}
    (after,) = entry.pop("MFC_AFTER")
    assert json.loads(after) == {
        "source": "10.0.0.1",
        "group": "239.1.1.1",
        "iif": "eth1",
        "oifs": ["eth2", "eth3"],
        "ttls": {"eth3": 16},
    }
    assert entry == {
        "MESSAGE": ["x"],
        "MESSAGE_ID": [Message.ROUTE_ADDED],
        "MFC_CAUSE": ["call"],
        "MFC_ACTION": ["add"],
        "MFC_UID": ["1000"],
        "MFC_USER": ["alice"],
        "MFC_SENDER": [":1.7"],
        "MFC_PID": ["4711"],
        "MFC_RESULT": ["done"],
        "MFC_SOURCE": ["10.0.0.1"],
        "MFC_GROUP": ["239.1.1.1"],
        "MFC_TABLE": ["0"],
        "MFC_IIF": ["eth1"],
        "MFC_OIF": ["eth2", "eth3"],
        "MFC_STATE": ["active"],
    }


def test_an_undo_says_what_it_undoes() -> None:
    cause = Cause(CauseKind.CALL, Act.UNDO, ALICE, undoes=12)
    told = dict(fields(records.record(cause, ACTIVE, None)))
    assert (told["MFC_ACTION"], told["MFC_UNDOES"]) == ("undo", "12")


def test_every_action_and_cause_is_in_the_administrators_page() -> None:
    page = (DATA / "doc/administration.md").read_text()
    assert not [word for word in (*Act, *CauseKind) if f"`{word}`" not in page]


def test_a_state_tells_what_it_was_and_why() -> None:
    told = dict(fields(records.record(BY_INTERFACE, ACTIVE, WAITING)))
    assert told["MFC_CAUSE"] == "interface"
    assert (told["MFC_OLD_STATE"], told["MFC_STATE"]) == ("active", "waiting")
    assert told["MFC_REASON"] == "Interface 'eth1' is missing"
    assert not {"MFC_UID", "MFC_USER", "MFC_PID"} & told.keys()


@pytest.mark.parametrize(
    ("record", "message", "sentence"),
    [
        (
            records.record(asked(Act.ADD, ALICE), None, WAITING),
            Message.ROUTE_ADDED,
            "alice (uid 1000, :1.7) added route (10.0.0.1, 239.1.1.1) from eth1 to eth2 eth3; "
            "it is waiting: Interface 'eth1' is missing",
        ),
        (
            records.record(
                asked(Act.CHANGE, Author(0, "", ":1.9")),
                ACTIVE,
                Status(parse_route("10.0.0.1", "239.1.1.1", "eth1", []), RouteState.ACTIVE),
            ),
            Message.ROUTE_CHANGED,
            ":1.9 (uid 0) changed route (10.0.0.1, 239.1.1.1) from eth1 to nowhere",
        ),
        (
            records.record(
                asked(Act.CHANGE, ALICE),
                ACTIVE,
                Status(
                    parse_route("10.0.0.1", "239.1.1.1", "eth1", ["eth2"], enabled=False),
                    RouteState.DISABLED,
                ),
            ),
            Message.ROUTE_CHANGED,
            "alice (uid 1000, :1.7) changed route (10.0.0.1, 239.1.1.1): disabled, from eth1 to "
            "eth2",
        ),
        (
            records.record(asked(Act.DELETE, ALICE), ACTIVE, None),
            Message.ROUTE_DELETED,
            "alice (uid 1000, :1.7) deleted route (10.0.0.1, 239.1.1.1) from eth1",
        ),
        (
            records.record(BY_EXPIRY, ACTIVE, None),
            Message.ROUTE_EXPIRED,
            "Route (10.0.0.1, 239.1.1.1) has ended: its time has run out",
        ),
        (
            records.record(Cause(CauseKind.RELOAD, Act.RELOAD, ALICE), None, ACTIVE),
            Message.ROUTE_ADDED,
            "The configuration added route (10.0.0.1, 239.1.1.1) from eth1 to eth2 eth3",
        ),
        (
            records.record(
                asked(Act.JOIN, ALICE),
                None,
                MembershipStatus(MEMBERSHIP, MembershipState.JOINED, ""),
            ),
            Message.MEMBERSHIP_JOINED,
            "alice (uid 1000, :1.7) joined membership (*, 239.1.1.1) on 'eth1'",
        ),
        (
            records.record(
                BY_INTERFACE,
                MembershipStatus(MEMBERSHIP, MembershipState.JOINED, ""),
                MembershipStatus(MEMBERSHIP, MembershipState.WAITING, ""),
            ),
            Message.MEMBERSHIP_STATE,
            "Membership (*, 239.1.1.1) on 'eth1' is waiting",
        ),
        (
            records.refused(
                asked(Act.ADD, ALICE),
                "AddRoute",
                "AccessDenied",
                "Not authorised",
                {"source": "*", "group": "239.1.1.1"},
            ),
            Message.REFUSED,
            "alice (uid 1000, :1.7) was refused AddRoute for (*, 239.1.1.1): Not authorised",
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Message) else "",
)
def test_a_sentence_says_who_did_what(record: Record, message: Message, sentence: str) -> None:
    assert record.sentence == sentence
    assert record.message == message


def test_a_refusal_has_what_was_asked_for_and_the_name_of_the_error() -> None:
    asked_for = {"source": "*", "group": "239.1.1.1", "iif": "eth1", "oifs": "eth2 eth3"}
    refusal = records.refused(asked(Act.ADD, ALICE), "AddRoute", "AccessDenied", "No", asked_for)
    told = parse(encode(fields(refusal)))
    assert told["MFC_RESULT"] == ["AccessDenied"]
    assert told["MFC_GROUP"] == ["239.1.1.1"]
    assert told["MFC_OIF"] == ["eth2", "eth3"]


def test_a_line_about_no_change_has_its_id_and_fields(
    log: logging.Logger, journal: Journal
) -> None:
    table = records.about_table(Message.TABLE_NOT_OURS, ROUTE.table_id, reason="taken")
    log.warning("%s", "taken", extra=table)
    assert journal.read() == {
        "MESSAGE": ["taken"],
        "PRIORITY": ["4"],
        "SYSLOG_IDENTIFIER": ["mfc-dbusd"],
        "MESSAGE_ID": [Message.TABLE_NOT_OURS],
        "MFC_FAMILY": ["ipv4"],
        "MFC_TABLE": ["0"],
        "MFC_REASON": ["taken"],
    }
    log.error("x", extra=records.about(Message.KERNEL_REFUSED, MEMBERSHIP))
    assert journal.read()["MFC_INTERFACE"] == ["eth1"]


def test_an_internal_error_has_its_id(log: logging.Logger, journal: Journal) -> None:
    guard = Guard("the upkeep of many routes")
    with mock.patch("mfc_dbus.loop.events.log", log), guard:
        raise ZeroDivisionError
    entry = journal.read()
    assert entry["MESSAGE_ID"] == [Message.INTERNAL_ERROR]
    assert "Traceback" in entry["MESSAGE"][0]


def test_text_of_strangers_makes_no_other_field() -> None:
    told = parse(encode([("MESSAGE", "a\nMFC_UID=0\n"), ("MFC_COMMENT", "b\udc80=c")]))
    assert told == {"MESSAGE": ["a\nMFC_UID=0\n"], "MFC_COMMENT": ["b\\udc80=c"]}


def test_a_long_value_is_cut() -> None:
    (value,) = parse(encode([("MESSAGE", "x" * 1_000_000)]))["MESSAGE"]
    assert 1000 < len(value) < 100_000


def test_while_the_journal_has_no_room_nobody_waits_and_it_says_what_was_left_out(
    log: logging.Logger, journal: Journal
) -> None:
    async def scenario() -> None:
        for number in range(5000):
            log.info("line %d", number)
        found: list[Entry] = []
        while not (found and "no room" in found[-1]["MESSAGE"][0]):
            await asyncio.sleep(0)  # the event loop sends what waits as soon as there is room
            found += journal.read_all()
        lines = [entry["MESSAGE"][0] for entry in found]
        assert lines[:-1] == [f"line {number}" for number in range(len(lines) - 1)]
        assert found[-1]["MESSAGE_ID"] == [Message.LEFT_OUT]
        assert found[-1]["MFC_LEFT_OUT"] == [str(5000 - len(lines) + 1)]
        assert len(lines) > 1000

    asyncio.run(scenario())


def test_a_thread_without_an_event_loop_sends_the_rest_with_the_next_line(
    log: logging.Logger, journal: Journal
) -> None:
    for number in range(600):
        log.info("line %d", number)
    found = journal.read_all()
    while len(found) < 601:
        log.info("another") if len(found) == 600 else log.debug("nothing")
        log.handlers[0].flush()
        found += journal.read_all()
    assert [entry["MESSAGE"][0] for entry in found[:600]] == [f"line {n}" for n in range(600)]


def test_a_line_of_another_thread_leaves_what_the_event_loop_waits_for_to_that(
    log: logging.Logger, journal: Journal
) -> None:
    lines = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text()) + 5

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        threads: list[int] = []
        remove = loop.remove_writer

        def noting(fd: Any) -> bool:
            threads.append(threading.get_ident())
            return remove(fd)

        with mock.patch.object(loop, "remove_writer", noting):
            for number in range(lines):
                log.info("line %d", number)
            found = journal.read_all()
            assert len(found) < lines
            other = threading.Thread(target=log.info, args=("of another thread",))
            other.start()
            other.join()
            while len(found) < lines + 1 or not threads:
                await asyncio.sleep(0)
                found += journal.read_all()
        assert found[-1]["MESSAGE"] == ["of another thread"]
        assert {*threads} == {threading.get_ident()}

    asyncio.run(scenario())


def test_lines_that_waited_for_a_journal_that_went_are_counted() -> None:
    path = Path(tempfile.mkdtemp()) / "socket"
    log = logging.Logger("test")
    with Journal(path) as journal:
        handler = JournalHandler("mfc-dbusd", str(path))
        log.addHandler(handler)
        for number in range(600):
            log.info("line %d", number)
        arrived = len(journal.read_all())
        assert arrived < 600
    log.info("to standard error")
    with Journal(path) as journal:
        log.info("again")
        assert journal.read()["MESSAGE"] == ["again"]
        assert journal.read()["MFC_LEFT_OUT"] == [str(600 - arrived)]
    handler.close()


def test_another_journal_at_the_same_place_is_found(tmp_path: Path) -> None:
    path = Path(tempfile.mkdtemp()) / "socket"
    log = logging.Logger("test")
    with Journal(path):
        handler = JournalHandler("mfc-dbusd", str(path))
        log.addHandler(handler)
    with Journal(path) as journal:
        log.info("again")
        assert journal.read()["MESSAGE"] == ["again"]
    handler.close()


def test_where_the_journal_has_gone_lines_go_to_standard_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = Path(tempfile.mkdtemp()) / "socket"
    log = logging.Logger("test")
    with Journal(path):
        handler = JournalHandler("mfc-dbusd", str(path))
        log.addHandler(handler)
    log.warning("a warning\nof two lines")
    handler.close()
    assert capsys.readouterr().err == "<4>a warning\n<4>of two lines\n"


def test_where_there_is_no_journal_there_is_no_handler(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        JournalHandler("mfc-dbusd", str(tmp_path / "socket"))


def test_a_stream_leads_to_the_journal_where_systemd_says_so_of_this_very_stream() -> None:
    with tempfile.TemporaryFile() as stream, tempfile.TemporaryFile() as other:
        status = os.fstat(stream.fileno())
        environment = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        assert leads_to_journal(stream.fileno(), environment)
        assert not leads_to_journal(other.fileno(), environment)
        assert not leads_to_journal(stream.fileno(), {})
    assert not leads_to_journal(-1, environment)


def test_the_catalog_explains_every_message_and_no_other() -> None:
    catalog = (DATA / "mfc-dbus.catalog").read_text()
    explained = re.findall(
        r"^-- ([0-9a-f]{32})\nSubject: .+\nDefined-By: mfc-dbus\n", catalog, re.MULTILINE
    )
    assert sorted(explained) == sorted(Message)


def test_every_message_is_in_the_administrators_page() -> None:
    page = (DATA / "doc/administration.md").read_text()
    assert not [message for message in Message if f"`{message}`" not in page]
