"""Lines of JSON in, lines of JSON out."""

import argparse
import itertools
import json
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfc_dbus.cli.lines import requests
from mfc_dbus.cli.requests import MAX_LINE, BatchRequest, InvalidRequest, parse_request
from mfc_dbus.cli.status import Status
from mfc_dbus.cli.verbs import batch
from mfc_dbus.client import Client, ClientError, InterfaceInfo, RouteInfo, finish

ADD = {"action": "ADD_MFC", "payload": {"group": "239.1.1.1", "iif": "eth1", "oifs": ["eth2"]}}
DELETE = {"action": "DEL_MFC", "payload": {"group": "239.1.1.1"}}
JOIN = {"action": "JOIN_GROUP", "payload": {"group": "239.1.1.1", "interface": "eth1"}}
SHOW = {"action": "SHOW"}
# Those that are no strings.
KEYS = {
    "oifs": list,
    "ttls": dict,
    "replace": bool,
    "persistent": bool,
    "wait": bool,
    "timeout": int,
}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


class FakeClient:
    """The service as far as a batch needs it."""

    def __init__(self) -> None:
        self.present: dict[str, RouteInfo] = {}
        self.shown: list[InterfaceInfo] = []
        self.failure: ClientError | None = None
        self.asked: list[dict[str, Any]] = []  # of changes

    async def add_route(
        self,
        group: str,
        iif: str,
        oifs: Sequence[str],
        *,
        source: str = "*",
        ttls: Mapping[str, int] | None = None,
        replace: bool = False,
        persistent: bool | None = None,
        timeout: int | None = None,
        wait: bool = False,
        comment: str = "",
    ) -> None:
        if self.failure:
            raise self.failure
        if group in self.present and not replace:
            raise ClientError("RouteExists", f"Route {group} exists already")
        self.present[group] = RouteInfo(
            source,
            group,
            iif,
            tuple(oifs),
            "waiting" if wait else "active",
            ttls or {},
            comment,
            timeout is None if persistent is None else persistent,
            (timeout or 0) * 1_000_000,
        )

    async def change_route(self, group: str, **changes: Any) -> None:
        if group not in self.present:
            raise ClientError("NoSuchRoute", f"There is no route {group}")
        self.asked.append(changes)

    async def delete_route(self, group: str, *, source: str = "*", iif: str | None = None) -> None:
        if self.present.pop(group, None) is None:
            raise ClientError("NoSuchRoute", f"There is no route {group}")

    async def routes(self) -> list[RouteInfo]:
        return list(self.present.values())

    async def interfaces(self) -> list[InterfaceInfo]:
        return self.shown

    async def join_group(self, group: str, interface: str) -> None: ...

    async def leave_group(self, group: str, interface: str) -> None: ...


def answers(
    directory: Path,
    capsys: pytest.CaptureFixture[str],
    *requests: object,
    client: FakeClient | None = None,
) -> tuple[int, list[dict[str, Any]]]:
    """Run a batch of these; bytes are lines as they are. The exit status and the responses."""
    file = directory / "requests"
    written = [it if isinstance(it, bytes) else json.dumps(it).encode() for it in requests]
    file.write_bytes(b"\n".join(written))
    fake = cast("Client", client or FakeClient())
    status = finish(batch.run(fake, argparse.Namespace(file=str(file))))
    return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_change_is_asked_for_with_all_that_was_said_and_answered_like_an_addition(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {"add-oifs": ["eth3"], "remove-oifs": ["eth2"], "to-iif": "eth4", "enabled": False}
    change = {"action": "CHANGE_MFC", "payload": {"group": "239.1.1.1", **said}}
    client = FakeClient()
    status, (early, _, changed) = answers(tmp_path, capsys, change, ADD, change, client=client)
    assert status == 1
    assert early["error"] == "NoSuchRoute"
    assert changed["message"] == "MFC entry for (*, 239.1.1.1) changed."
    assert client.asked == [
        {"add_oifs": ["eth3"], "remove_oifs": ["eth2"], "to_iif": "eth4", "enabled": False}
    ]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for file in (tmp_path, tmp_path / "nosuch"):
        with pytest.raises(OSError) as caught:  # noqa: PT011 - what it names is checked
            finish(batch.run(cast("Client", FakeClient()), argparse.Namespace(file=str(file))))
        assert caught.value.filename == str(file)


def test_each_request_is_answered_in_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, responses = answers(tmp_path, capsys, ADD, SHOW, DELETE, SHOW)
    route = {"source": "*", "group": "239.1.1.1", "iif": "eth1", "oifs": ["eth2"]}
    more = {"state": "active", "ttls": {}, "comment": "", "persistent": True, "expires": 0}
    shown = route | more | {"origin": "bus", "table": 0, "reason": "", "hairpin": False}
    shown["enabled"] = True
    done = {"status": "success"}
    added = done | {"message": "MFC entry for (*, 239.1.1.1) added."}
    deleted = done | {"message": "MFC entry for (*, 239.1.1.1) deleted."}
    nothing: dict[str, Any] = {"vif_map": {}, "mfc_rules": [], "interfaces": []}
    assert responses == [
        {"line": 1, "action": "ADD_MFC"} | added,
        {"line": 2, "action": "SHOW", "payload": nothing | {"mfc_rules": [shown]}} | done,
        {"line": 3, "action": "DEL_MFC"} | deleted,
        {"line": 4, "action": "SHOW", "payload": nothing} | done,
    ]
    assert status == Status.DONE


def test_what_others_speak_is_answered_as_they_expect_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = FakeClient()
    client.shown = [
        InterfaceInfo("eth1", "ipv6", 3, 2, 1, "active"),
        InterfaceInfo("eth1", "ipv4", 0, 2, 5, "active", table=100),
        InterfaceInfo("eth1", "ipv4", 1, 2, 7, "active"),
        InterfaceInfo("eth2", "ipv6", 4, 9, 1, "active"),
    ]
    stream = {"source": "10.1.1.5", "group": "239.10.20.30"}
    add = {"action": "ADD_MFC", "payload": stream | {"iif": "eth1", "oifs": ["eth2"]}}
    delete = {"action": "DEL_MFC", "payload": stream}
    _, responses = answers(tmp_path, capsys, add, SHOW, delete, delete, client=client)
    of_stream = "MFC entry for (10.1.1.5, 239.10.20.30)"
    assert said(responses[0]) == {"status": "success", "message": f"{of_stream} added."}
    assert said(responses[2]) == {"status": "success", "message": f"{of_stream} deleted."}
    assert said(responses[3]) == {
        "status": "error",
        "message": "There is no route 239.10.20.30",
    }
    payload = responses[1]["payload"]
    ours = {"family", "table"}
    assert responses[1]["status"] == "success"
    assert {
        name: {key: value for key, value in vif.items() if key not in ours}
        for name, vif in payload["vif_map"].items()
    } == {
        "eth1": {"vifi": 1, "ref_count": 7, "ifindex": 2},
        "eth2": {"vifi": 4, "ref_count": 1, "ifindex": 9},
    }
    (rule,) = payload["mfc_rules"]
    assert {key: rule[key] for key in ("source", "group", "iif", "oifs")} == {
        **stream,
        "iif": "eth1",
        "oifs": ["eth2"],
    }
    assert [each["vif"] for each in payload["interfaces"]] == [3, 0, 1, 4]


def said(response: Mapping[str, Any]) -> dict[str, Any]:
    """What of a response is no addition of ours."""
    return {key: value for key, value in response.items() if key in ("status", "message")}


def test_a_membership_is_answered_in_the_same_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leave = {**JOIN, "action": "LEAVE_GROUP"}
    _, responses = answers(tmp_path, capsys, JOIN, leave)
    assert [said(response) for response in responses] == [
        {"status": "success", "message": "(*, 239.1.1.1) joined on eth1."},
        {"status": "success", "message": "(*, 239.1.1.1) left on eth1."},
    ]


def test_every_key_of_a_payload_is_passed_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = {
        "source": "10.0.1.10",
        "ttls": {"eth2": 16},
        "replace": True,
        "persistent": False,
        "timeout": 60,
        "wait": True,
        "comment": "lobby",
    }
    full = {"action": "ADD_MFC", "payload": {**cast("dict[str, Any]", ADD["payload"]), **more}}
    _, responses = answers(tmp_path, capsys, ADD, full, SHOW)
    (route,) = responses[2]["payload"]["mfc_rules"]
    assert route["source"] == "10.0.1.10"
    assert route["ttls"] == {"eth2": 16}
    assert route["comment"] == "lobby"
    assert route["state"] == "waiting"
    assert (route["persistent"], route["expires"]) == (False, 60_000_000)


def test_an_error_of_the_service_is_told_by_name_and_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, responses = answers(tmp_path, capsys, ADD, ADD, DELETE)
    assert responses[1] == {
        "line": 2,
        "action": "ADD_MFC",
        "status": "error",
        "error": "RouteExists",
        "message": "Route 239.1.1.1 exists already",
    }
    assert responses[2]["status"] == "success"
    assert status == Status.FAILED


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "The line is not JSON"),
        (b"\xff\xfe", "The line is not valid UTF-8"),
        (b"[" * 100_000, "The line is nested too deeply"),
        (b"1" * 10_000, "The line is not JSON"),
        (b" " * (MAX_LINE + 1) + b"{}", "The line is longer than 1048576 bytes"),
        (b'{"action": "SHOW", "action": "SHOW"}', "The line is not JSON: a name is there twice"),
        ([], "The line is not a JSON object"),
        ({}, "'action' is none of ADD_MFC, CHANGE_MFC, DEL_MFC, JOIN_GROUP, LEAVE_GROUP, SHOW"),
        ({"action": ["SHOW"]}, "'action' is none of"),
        ({"action": "show"}, "'action' is none of"),
    ],
)
def test_a_line_that_cannot_be_read_is_one_error_and_not_the_end(
    line: object, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, (bad, good) = answers(tmp_path, capsys, line, ADD)
    assert bad.pop("message").startswith(message)
    assert bad == {"line": 1, "action": None, "status": "error", "error": "InvalidArgs"}
    assert (good["line"], good["status"]) == (2, "success")
    assert status == Status.FAILED


@pytest.mark.parametrize(
    ("action", "change", "message"),
    [
        ("ADD_MFC", {"group": None}, "'group' is not a string that D-Bus can carry"),
        ("ADD_MFC", {"comment": "a\0b"}, "'comment' is not a string that D-Bus can carry"),
        ("ADD_MFC", {"source": "\ud800"}, "'source' is not a string that D-Bus can carry"),
        ("ADD_MFC", {"oifs": "eth2"}, "'oifs' is not an array of strings that D-Bus can carry"),
        ("ADD_MFC", {"oifs": ["eth2", 3]}, "'oifs' is not an array of strings"),
        ("ADD_MFC", {"ttls": ["eth2"]}, "'ttls' is not an object of numbers from 0 to 255"),
        ("ADD_MFC", {"ttls": {"eth2": 256}}, "'ttls' is not an object of numbers"),
        ("ADD_MFC", {"ttls": {"eth2": True}}, "'ttls' is not an object of numbers"),
        ("ADD_MFC", {"ttls": {"eth2": 1.0}}, "'ttls' is not an object of numbers"),
        ("ADD_MFC", {"ttls": {"\0": 1}}, "'ttls' is not an object of numbers"),
        ("ADD_MFC", {"replace": 1}, "'replace' is not true or false"),
        ("ADD_MFC", {"persistent": "no"}, "'persistent' is not true or false"),
        ("ADD_MFC", {"wait": None}, "'wait' is not true or false"),
        ("ADD_MFC", {"timeout": -1}, "'timeout' is not a number of seconds"),
        ("ADD_MFC", {"timeout": 2**32}, "'timeout' is not a number of seconds"),
        ("ADD_MFC", {"timeout": 1.0}, "'timeout' is not a number of seconds"),
        ("ADD_MFC", {"timeout": True}, "'timeout' is not a number of seconds"),
        ("JOIN_GROUP", {"interface": 1}, "'interface' is not a string"),
        ("JOIN_GROUP", {"timeout": 5}, "'timeout' is not known in the payload of JOIN_GROUP"),
        ("LEAVE_GROUP", {"wait": True}, "'wait' is not known in the payload of LEAVE_GROUP"),
        ("ADD_MFC", {"expires": 5}, "'expires' is not known in the payload of ADD_MFC"),
        ("CHANGE_MFC", {"oifs": []}, "'oifs' is not known in the payload of CHANGE_MFC"),
        ("CHANGE_MFC", {"add-oifs": "eth1"}, "'add-oifs' is not an array of strings"),
        ("CHANGE_MFC", {"enabled": 1}, "'enabled' is not true or false"),
        ("DEL_MFC", {"oifs": []}, "'oifs' is not known in the payload of DEL_MFC"),
        ("DEL_MFC", {"iif": 1}, "'iif' is not a string"),
        ("SHOW", {"group": "239.1.1.1"}, "'group' is not known in the payload of SHOW"),
    ],
)
def test_a_payload_of_another_form_names_the_key(
    action: str, change: dict[str, object], message: str
) -> None:
    request = next((it for it in (ADD, DELETE, JOIN) if it["action"] == action), SHOW)
    payload = {**cast("dict[str, Any]", request.get("payload", {})), **change}
    with pytest.raises(InvalidRequest, match=f"^{message}") as error:
        parse_request(json.dumps({"action": action, "payload": payload}).encode())
    assert error.value.action == action


@pytest.mark.parametrize("missing", ["group", "iif", "oifs"])
def test_a_missing_key_is_named(missing: str) -> None:
    payload = {k: v for k, v in cast("dict[str, Any]", ADD["payload"]).items() if k != missing}
    with pytest.raises(InvalidRequest, match=f"^'{missing}' is missing"):
        parse_request(json.dumps({"action": "ADD_MFC", "payload": payload}).encode())


@pytest.mark.parametrize("payload", [None, [], "", 0])
def test_a_payload_that_is_no_object_is_refused(payload: object) -> None:
    with pytest.raises(InvalidRequest, match="'payload' is not an object"):
        parse_request(json.dumps({"action": "SHOW", "payload": payload}).encode())


def test_another_key_beside_the_payload_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="'id' is not known"):
        parse_request(json.dumps({**ADD, "id": 7}).encode())


@given(st.binary() | JSON.map(lambda it: json.dumps(it).encode()))
def test_any_line_is_a_request_or_an_error(line: bytes) -> None:
    try:
        assert isinstance(parse_request(line), BatchRequest)
    except InvalidRequest as error:
        assert str(error)


@given(
    action=st.sampled_from(
        ["ADD_MFC", "CHANGE_MFC", "DEL_MFC", "JOIN_GROUP", "LEAVE_GROUP", "SHOW"]
    ),
    payload=st.dictionaries(
        st.sampled_from([*KEYS, "source", "group", "iif", "interface", "comment"]),
        JSON | st.lists(st.text()) | st.dictionaries(st.text(), st.integers()),
    ),
)
def test_what_is_let_through_has_the_types_of_the_client(
    action: str, payload: dict[str, Any]
) -> None:
    try:
        request = parse_request(json.dumps({"action": action, "payload": payload}).encode())
    except InvalidRequest:
        return
    assert all(isinstance(v, KEYS.get(k, str)) for k, v in request.payload.items())


def test_empty_lines_are_counted_and_not_answered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, responses = answers(tmp_path, capsys, b"", b"  \r", SHOW, b"")
    assert [response["line"] for response in responses] == [3]


def test_a_byte_order_mark_is_no_part_of_a_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _ = answers(tmp_path, capsys, b"\xef\xbb\xbf" + json.dumps(SHOW).encode(), SHOW)
    assert status == Status.DONE


def test_it_ends_when_the_bus_has_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    client = FakeClient()
    client.failure = ClientError("Disconnected", "The bus has gone")
    status, responses = answers(tmp_path, capsys, ADD, ADD, client=client)
    assert [response["error"] for response in responses] == ["Disconnected"]
    assert status == Status.NOT_RUNNING


def test_it_goes_on_when_the_service_has_gone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = FakeClient()
    client.failure = ClientError("ServiceUnknown", "The service is not running")
    status, responses = answers(tmp_path, capsys, ADD, SHOW, client=client)
    assert [response["status"] for response in responses] == ["error", "success"]
    assert status == Status.FAILED


@given(st.lists(st.binary(max_size=20)), st.integers(0, 10), st.integers(1, 40))
def test_lines_are_cut_however_they_come(parts: list[bytes], limit: int, chunk: int) -> None:
    written = [part.replace(b"{", b"") for part in parts]
    cut_up = b"\n".join(written).split(b"\n")
    expected = [
        (number, line if len(line) <= limit else None)
        for number, line in enumerate(cut_up, 1)
        if line.strip() or len(line) > limit
    ]
    assert cut(b"\n".join(written), limit, chunk) == expected


OBJECTS = st.dictionaries(st.text(max_size=4), st.text(max_size=9), max_size=3)
SPACES = st.sampled_from(["", " ", "\t\r\n", "\n\n"])


@given(st.lists(st.tuples(SPACES, OBJECTS)), st.integers(1, 40), st.booleans())
def test_objects_are_cut_whatever_stands_between_them(
    written: list[tuple[str, dict[str, str]]], chunk: int, plain: bool
) -> None:
    texts = [(space, json.dumps(one, ensure_ascii=plain)) for space, one in written]
    data = "".join(space + text for space, text in texts).encode()
    found = cut(data, 1000, chunk)
    assert [json.loads(text or b"") for _, text in found] == [one for _, one in written]
    ends = itertools.accumulate(space.count("\n") for space, _ in texts)
    assert [number - 1 for number, _ in found] == list(ends)


def test_an_object_is_there_before_its_line_ends() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb"), os.fdopen(writing, "wb", buffering=0) as pipe:
        found = requests(reading, 100)
        pipe.write(b'{"a": {}')
        pipe.write(b"} ")
        assert next(found) == (1, b'{"a": {}}')
        pipe.write(b'\n{"b": "}"} {"c": ')
        assert next(found) == (2, b'{"b": "}"}')
        pipe.write(b"1}")
        assert next(found) == (2, b' {"c": 1}')


def test_what_follows_an_object_on_its_line_is_a_request_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = json.dumps(ADD).encode() + b" }"
    status, (added, rest) = answers(tmp_path, capsys, line)
    assert (added["line"], added["status"]) == (1, "success")
    assert (rest["line"], rest["error"], status) == (1, "InvalidArgs", Status.FAILED)


def cut(data: bytes, limit: int, chunk: int) -> list[tuple[int, bytes | None]]:
    """Read requests from a pipe into which data comes in pieces."""
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb", buffering=0) as pipe:
            for start in range(0, len(data), chunk):
                pipe.write(data[start : start + chunk])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        return list(requests(reading, limit))
    finally:
        writer.join()
        os.close(reading)


def test_a_fifo_is_waited_for_until_somebody_writes(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=[b"bad"])
    writer.start()
    client = cast("Client", FakeClient())
    assert finish(batch.run(client, argparse.Namespace(file=str(fifo)))) == Status.FAILED
    writer.join()


class Interrupted(Exception):
    """A signal came."""


@pytest.mark.parametrize("endless", ["fifo", "/dev/zero"])
def test_what_has_no_end_can_be_interrupted(endless: str, tmp_path: Path) -> None:
    def interrupt(*_: object) -> None:
        raise Interrupted

    os.mkfifo(tmp_path / "fifo")
    args = argparse.Namespace(file=str(tmp_path / endless))
    running = batch.run(cast("Client", FakeClient()), args)
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(Interrupted):
            finish(running)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
