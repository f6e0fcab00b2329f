"""The places that name the options of routes and memberships by hand, and what each of them names.

They are typed, or told in prose, so they cannot be made from the table of options.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from lab.contract import about, entries, words
from mfc_dbus.cli.verbs import show
from mfc_dbus.client import Client, MembershipInfo, RouteInfo
from mfc_dbus.model import membership, route
from mfc_dbus.model.options import (
    ADD_ROUTE,
    CHANGE_ROUTE,
    JOIN_GROUP,
    MEMBERSHIP,
    ROUTE,
    Option,
    signatures,
)

_STREAM = {"source", "group", "iif", "oifs"}
_WHICH = {"iif", "table"}
_JOINED = {"source", "group", "interface"}
_TOLD = {"state", "reason", "origin"}


class Place(NamedTuple):
    """What a place names, beside what is no option; and what it has to name, and nothing else."""

    named: set[Any]
    wanted: set[Any]


def places() -> Mapping[str, Place]:
    document, _, memberships = about("Apply", "document").partition('"membership"')
    shown = re.split(r"^  (?=\w)", show.DESCRIPTION, flags=re.MULTILINE)
    of_routes, *_, of_memberships, _ = (each for each in shown if "--json" not in each)
    return {
        "parse_route": Place(_parameters(route.parse_route) - _STREAM, _names(ROUTE)),
        "memberships": Place(
            _parameters(membership.MembershipRange.memberships), _names(MEMBERSHIP)
        ),
        "Client.add_route": Place(_parameters(Client.add_route) - _STREAM, _names(ADD_ROUTE)),
        "Client.change_route": Place(
            _parameters(Client.change_route) - _WHICH - {"source", "group"},
            {option.parameter for option in CHANGE_ROUTE},
        ),
        "Client.join_group": Place(_parameters(Client.join_group) - _JOINED, _names(JOIN_GROUP)),
        "RouteInfo": Place({*RouteInfo._fields} - _STREAM - _TOLD - {"expires"}, _names(ROUTE)),
        "MembershipInfo": Place({*MembershipInfo._fields} - _JOINED - _TOLD, _names(MEMBERSHIP)),
        "AddRoute in the contract": _typed(about("AddRoute", "options"), ADD_ROUTE),
        "ChangeRoute in the contract": _typed(
            about("ChangeRoute", "changes"), CHANGE_ROUTE, _WHICH
        ),
        "JoinGroup in the contract": _typed(about("JoinGroup", "options"), JOIN_GROUP),
        "Routes in the contract": _typed(about("Routes"), ROUTE, {*_TOLD, "expires"}),
        "Memberships in the contract": _typed(about("Memberships"), MEMBERSHIP, _JOINED | _TOLD),
        "routes of Apply in the contract": Place(
            words(document) - _STREAM - {"route"}, _names(ROUTE)
        ),
        "memberships of Apply in the contract": Place(
            words(memberships) - _JOINED, _names(MEMBERSHIP)
        ),
        "routes in the help of show": Place(_words_of(of_routes, ROUTE), _names(ROUTE)),
        "memberships in the help of show": Place(
            _words_of(of_memberships, MEMBERSHIP), _names(MEMBERSHIP)
        ),
    }


def _names(options: Iterable[Option]) -> set[str]:
    return {option.name for option in options}


def _parameters(function: Callable[..., Any]) -> set[str]:
    return {*inspect.signature(function).parameters} - {"self"}


def _typed(text: str, options: Iterable[Option], others: Iterable[str] = ()) -> Place:
    """Compare with what is written as "name" and a signature."""
    named = {name: each for name, each in entries(text).items() if name not in others}
    return Place({*named.items()}, {*signatures([*options]).items()})


def _words_of(text: str, options: Iterable[Option]) -> set[str]:
    return {option.name for option in options if re.search(rf"\b{option.name}\b", text)}
