"""batch"""

import argparse
import contextlib
import json
import os
import textwrap
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mfc_dbus.cli.requests import MAX_LINE, InvalidRequest, parse_request
from mfc_dbus.cli.status import Status, complain
from mfc_dbus.model.options import ADD_ROUTE, CHANGE_ROUTE, JOIN_GROUP, TABLE, Option

if TYPE_CHECKING:
    from mfc_dbus.client import Client, InterfaceInfo

USAGE = "FILE|-"

_ROUTE = "group, iif (strings), oifs (an array of strings; empty: stop)"
_SOURCE = "source (a string; left out: any)"


def _payload(action: str, names: str, options: Iterable[Option] = ()) -> str:
    """Describe the payload of an action, for the help."""
    told = ", ".join([names, *(f"{option.name} ({option.kind})" for option in options)])
    return textwrap.fill(told, 100, initial_indent=f"  {action:12}", subsequent_indent=" " * 14)


DESCRIPTION = f"""\
Do what a file, or with - the standard input, asks for: a JSON object a line, one after the other.
A JSON object answers each of them, at once, so a program can hold a conversation; the newline after
a request may be left out.

A request has an "action" and its "payload":
{_payload("ADD_MFC", f"{_ROUTE}; and where needed {_SOURCE}", ADD_ROUTE)}
{_payload("CHANGE_MFC", "group; and where needed source, iif", [TABLE, *CHANGE_ROUTE])}
{_payload("DEL_MFC", "group; and where needed source, iif", [TABLE])}
{_payload("JOIN_GROUP", "group, interface; and where needed source", JOIN_GROUP)}
{_payload("LEAVE_GROUP", "group, interface; and where needed source")}
  SHOW        nothing

A response has "status" ("success" or "error"), "message", a sentence, and beside them "line" (the
number of the request's line, from 1), "action" (null where it could not be read), and of an error
"error", its name. That of SHOW has no message but a "payload": "mfc_rules", the routes as in "show
--json"; "vif_map", by the name of each interface that routes use its "vifi", "ref_count" (how many
routes use it), "ifindex", "family" and "table", and where it has several VIFs those of the one in
the default IPv4 table; "interfaces", all VIFs as in "show interfaces --json". A line that cannot be
understood (or is longer than {MAX_LINE // 1024} KiB) is the error InvalidArgs. No error ends it:
the next line is next. An empty line is none, but counted."""

EXAMPLES = """\
  mfc-dbus-cli batch routes.jsonl
  generate-routes | mfc-dbus-cli batch -
with lines such as
  {"action": "ADD_MFC", "payload": {"source": "10.0.1.10", "group": "239.1.1.1", "iif": "eth1",
   "oifs": ["eth2", "eth3"], "ttls": {"eth3": 16}}}                      (as one line)
  {"action": "CHANGE_MFC", "payload": {"source": "10.0.1.10", "group": "239.1.1.1",
   "add-oifs": ["eth4"], "remove-oifs": ["eth2"]}}                       (as one line)
  {"action": "DEL_MFC", "payload": {"source": "10.0.1.10", "group": "239.1.1.1"}}
  {"action": "SHOW"}
and responses such as
  {"line": 1, "action": "ADD_MFC", "status": "success",
   "message": "MFC entry for (10.0.1.10, 239.1.1.1) added."}              (as one line)
  {"line": 2, "action": "DEL_MFC", "status": "error", "error": "NoSuchRoute", "message": "..."}
  {"line": 3, "action": "SHOW", "status": "success", "payload": {"vif_map": {"eth1": {"vifi": 0,
   "ref_count": 1, "ifindex": 2, ...}}, "mfc_rules": [{"source": "10.0.1.10", ...}], ...}, ...}

the exit status is 1 where any request failed
"""

CHANGES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE|-", help="where the requests are")


async def run(client: "Client", args: argparse.Namespace) -> int:
    from mfc_dbus.cli.lines import requests

    status = Status.DONE
    with _open(args.file) as fd:
        for number, line in requests(fd, MAX_LINE):
            response = await _respond(client, line)
            print(json.dumps({"line": number, **response}), flush=True)
            if response["status"] == "error":
                status = Status.FAILED
            if response.get("error") == "Disconnected":
                complain(response["message"])
                return Status.NOT_RUNNING
    return status


async def _respond(client: "Client", line: bytes | None) -> dict[str, Any]:
    from mfc_dbus.client import ClientError

    action = None
    try:
        action, payload = parse_request(line)
        done = await _ACTIONS[action](client, payload)
        return {"action": action, "status": "success", **done}
    except InvalidRequest as error:
        action, name, message = error.action, "InvalidArgs", str(error)
    except ClientError as error:
        name, message = error.name, str(error)
    return {"action": action, "status": "error", "error": name, "message": message}


def _change(
    method: "Callable[[Client], Callable[..., Awaitable[None]]]", sentence: str
) -> "Callable[[Client, Mapping[str, Any]], Awaitable[dict[str, Any]]]":
    """Make an action that calls a method of the client and answers with a sentence."""

    async def act(client: "Client", payload: Mapping[str, Any]) -> dict[str, Any]:
        await method(client)(**{name.replace("-", "_"): value for name, value in payload.items()})
        return {"message": sentence.format_map({**payload, "stream": _stream(payload)})}

    return act


async def _show(client: "Client", _: Mapping[str, Any]) -> dict[str, Any]:
    routes, interfaces = await client.routes(), await client.interfaces()
    # The last one of a name counts: that of the default IPv4 table, if there is one.
    ordered = sorted(interfaces, key=lambda each: (each.table, each.family), reverse=True)
    payload = {
        "vif_map": {each.name: _vif(each) for each in ordered},
        "mfc_rules": [route.to_json() for route in routes],
        "interfaces": [each.to_json() for each in interfaces],
    }
    return {"payload": payload}


def _vif(interface: "InterfaceInfo") -> dict[str, Any]:
    return {
        "vifi": interface.vif,
        "ref_count": interface.references,
        "ifindex": interface.ifindex,
        "family": interface.family,
        "table": interface.table,
    }


def _stream(payload: Mapping[str, Any]) -> str:
    return f"({payload.get('source') or '*'}, {payload['group']})"


_ACTIONS = {
    "ADD_MFC": _change(lambda client: client.add_route, "MFC entry for {stream} added."),
    "CHANGE_MFC": _change(lambda client: client.change_route, "MFC entry for {stream} changed."),
    "DEL_MFC": _change(lambda client: client.delete_route, "MFC entry for {stream} deleted."),
    "JOIN_GROUP": _change(lambda client: client.join_group, "{stream} joined on {interface}."),
    "LEAVE_GROUP": _change(lambda client: client.leave_group, "{stream} left on {interface}."),
    "SHOW": _show,
}


@contextlib.contextmanager
def _open(file: str) -> Iterator[int]:
    if file == "-":
        yield 0
        return
    with open(file, "rb", buffering=0, opener=_at_once) as opened:  # its error names the file
        yield opened.fileno()


def _at_once(path: str, flags: int) -> int:
    # Without O_NONBLOCK the opening of a fifo waits for a writer, and no signal ends that.
    return os.open(path, flags | os.O_NONBLOCK)
