"""batch"""

import argparse
import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mfc_dbus.cli.requests import MAX_LINE, InvalidRequest, parse_request
from mfc_dbus.cli.status import Status, complain

if TYPE_CHECKING:
    from mfc_dbus.client import Client

USAGE = "FILE|-"

DESCRIPTION = f"""\
Do what a file, or with - the standard input, asks for: a JSON object a line, one after the other.
A JSON object answers each of them, at once, so a program can hold a conversation.

A request has an "action" and its "payload":
  ADD_MFC  group, iif (strings), oifs (array of strings; empty: stop); and where needed source
           (string; left out: any), ttls (object: oif to TTL threshold), replace, persistent, wait,
           hairpin (true or false), timeout (seconds), table (a number), comment
  DEL_MFC  group; and where needed source, iif
  JOIN_GROUP
           group, interface; and where needed source, persistent, wait, comment
  LEAVE_GROUP
           group, interface; and where needed source
  SHOW     nothing; the response has "routes", an array as in "show --json"

A response has "line" (the number of the request's line, from 1), "action" (null where it could
not be read), "status" ("ok" or "error"); and of an error "error", its name, and "message", a
sentence. A line that cannot be understood (or is longer than {MAX_LINE // 1024} KiB) is the error
InvalidArgs. No error ends it: the next line is next. An empty line is none, but counted."""

EXAMPLES = """\
  mfc-dbus-cli batch routes.jsonl
  generate-routes | mfc-dbus-cli batch -
with lines such as
  {"action": "ADD_MFC", "payload": {"source": "10.0.1.10", "group": "239.1.1.1", "iif": "eth1",
   "oifs": ["eth2", "eth3"], "ttls": {"eth3": 16}}}                      (as one line)
  {"action": "DEL_MFC", "payload": {"source": "10.0.1.10", "group": "239.1.1.1"}}
  {"action": "SHOW"}
and responses such as
  {"line": 1, "action": "ADD_MFC", "status": "ok"}
  {"line": 2, "action": "DEL_MFC", "status": "error", "error": "NoSuchRoute", "message": "..."}

the exit status is 1 where any request failed
"""

CHANGES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE|-", help="where the requests are")


async def run(client: "Client", args: argparse.Namespace) -> int:
    from mfc_dbus.cli.lines import lines

    status = Status.DONE
    number = 0
    with _open(args.file) as fd:
        async for line in lines(fd, MAX_LINE):
            number += 1
            if line is not None and not line.strip():
                continue
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
        return {"action": action, "status": "ok", **await _ACTIONS[action](client, payload)}
    except InvalidRequest as error:
        action, name, message = error.action, "InvalidArgs", str(error)
    except ClientError as error:
        name, message = error.name, str(error)
    return {"action": action, "status": "error", "error": name, "message": message}


async def _add(client: "Client", payload: Mapping[str, Any]) -> dict[str, Any]:
    await client.add_route(**payload)
    return {}


async def _delete(client: "Client", payload: Mapping[str, Any]) -> dict[str, Any]:
    await client.delete_route(**payload)
    return {}


async def _join(client: "Client", payload: Mapping[str, Any]) -> dict[str, Any]:
    await client.join_group(**payload)
    return {}


async def _leave(client: "Client", payload: Mapping[str, Any]) -> dict[str, Any]:
    await client.leave_group(**payload)
    return {}


async def _show(client: "Client", _: Mapping[str, Any]) -> dict[str, Any]:
    return {"routes": [route.to_json() for route in await client.routes()]}


_ACTIONS = {
    "ADD_MFC": _add,
    "DEL_MFC": _delete,
    "JOIN_GROUP": _join,
    "LEAVE_GROUP": _leave,
    "SHOW": _show,
}


@contextlib.contextmanager
def _open(file: str) -> Iterator[int]:
    if file == "-":
        yield 0
        return
    fd = os.open(file, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)
