"""What is asked of the service, as values: calls that change something (pure).

`remedy` reads the commands of Explain's findings as such calls, where they are the service's own.
"""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mfc_dbus.client.info import MembershipInfo, RouteInfo, RouteKey
from mfc_dbus.model import options
from mfc_dbus.model.members import Action
from mfc_dbus.names import ANY_SOURCE

_CLI = "mfc-dbus-cli"
_STREAM = {"--source": "source", "--group": "group", "--iif": "iif", "--interface": "interface"}
_MANY = {"--oifs", "--add-oifs", "--remove-oifs", "--ttl"}  # the words that follow are all theirs


class Request(NamedTuple):
    """A call: its arguments, and its options by name. Words in capitals are still to be chosen."""

    member: str
    arguments: tuple[Any, ...]
    options: Mapping[str, Any] = {}

    @property
    def action(self) -> Action:
        is_membership = self.member in ("JoinGroup", "LeaveGroup")
        return Action.MANAGE_MEMBERSHIPS if is_membership else Action.MANAGE_ROUTES

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to choose."""
        said = [*self.arguments, *self.options.values()]
        return "IF" not in said and not any("IF" in each for each in said if _is_list(each))


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple | dict)


# The signature of the arguments before the options, and those of the options.
_SHAPES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "AddRoute": ("sssas", options.signatures(options.ADD_ROUTE)),
    "ChangeRoute": (
        "ss",
        {**options.signatures(options.CHANGE_ROUTE), "iif": "s", "table": "u"},
    ),
    "DeleteRoute": ("ss", {"iif": "s", "table": "u"}),
    "JoinGroup": ("sss", options.signatures(options.JOIN_GROUP)),
    "LeaveGroup": ("sss", {}),
    "Apply": ("s", dict.fromkeys(("merge", "dry-run", "wait", "empty"), "b")),
    "Undo": ("", {"number": "t"}),
    "ListChanges": ("", {"number": "t", "limit": "u"}),
    "Explain": ("ss", {"iif": "s", "table": "u", "seconds": "u"}),
}


def shape(request: Request) -> tuple[str, Mapping[str, str]]:
    """Return the signature of its arguments, and the signatures of its options."""
    return _SHAPES[request.member]


def add_route(source: str, group: str, iif: str, oifs: Sequence[str], **said: Any) -> Request:
    given = {
        option.name: said[option.parameter]
        for option in options.ADD_ROUTE
        if option.parameter in said
    }
    changed = {name: value for name, value in given.items() if value != _default(name)}
    return Request("AddRoute", (source, group, iif, [*oifs]), changed)


def _default(name: str) -> Any:
    return next(option.default for option in options.ADD_ROUTE if option.name == name)


def change_route(route: RouteInfo, **changes: Any) -> Request:
    named = {name.replace("_", "-"): value for name, value in changes.items()}
    return Request("ChangeRoute", (route.source, route.group), named | _which(route.key))


def delete_route(route: RouteInfo) -> Request:
    return Request("DeleteRoute", (route.source, route.group), _which(route.key))


def join_group(group: str, source: str, interface: str, **said: Any) -> Request:
    return Request("JoinGroup", (group, source, interface), said)


def leave_group(membership: MembershipInfo) -> Request:
    return Request("LeaveGroup", (membership.group, membership.source, membership.interface))


def _which(key: RouteKey) -> dict[str, Any]:
    _, _, iif, table = key
    return ({"iif": iif} if iif else {}) | ({"table": table} if table else {})


def remedy(command: str) -> Request | None:
    """Return what a remedy would ask of the service, None where it is a command for others."""
    words = shlex.split(command)
    if words[:1] != [_CLI] or len(words) < 3:
        return None
    said = _flags(words[3:])
    stream = {name: said.pop(flag) for flag, name in _STREAM.items() if flag in said}
    source, group = stream.get("source", ANY_SOURCE), stream.get("group", "")
    table = {"table": int(said.pop("--table"))} if "--table" in said else {}
    match words[1:3]:
        case ["mfc", "add"]:
            oifs = said.pop("--oifs", [])
            request = Request("AddRoute", (source, group, stream.get("iif", "IF"), oifs), table)
        case ["mfc", "change"]:
            which = {"iif": stream["iif"]} if "iif" in stream else {}
            request = Request("ChangeRoute", (source, group), _changes(said) | which | table)
        case ["mfc", "del"]:
            which = {"iif": stream["iif"]} if "iif" in stream else {}
            request = Request("DeleteRoute", (source, group), which | table)
        case ["group", "join"]:
            request = Request("JoinGroup", (group, source, stream.get("interface", "IF")))
        case _:
            return None
    return None if said else request


def _flags(words: Sequence[str]) -> dict[str, Any]:
    """Return the values of flags: a word, a list of those that take many, True without any."""
    said: dict[str, Any] = {}
    flag = ""
    for word in words:
        if word.startswith("--"):
            flag = word
            said[flag] = [] if flag in _MANY else True
        elif flag in _MANY:
            said[flag].append(word)
        else:
            said[flag] = word
    return said


def _changes(said: dict[str, Any]) -> dict[str, Any]:
    """Take the changes of a route out of these flags."""
    changes: dict[str, Any] = {}
    for option in options.CHANGE_ROUTE:
        if option.flag.word in said:
            value = said.pop(option.flag.word)
            changes[option.name] = not option.default if value is True else value
        elif option.flag.back in said:
            said.pop(option.flag.back)
            changes[option.name] = option.default
    if "ttls" in changes:
        pairs = (each.rpartition("=") for each in changes["ttls"])
        changes["ttls"] = {name: int(ttl) for name, _, ttl in pairs}
    return changes
