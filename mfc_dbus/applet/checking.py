"""What is wrong with the fields of a form, in the sentences of the service (pure)."""

from collections.abc import Callable, Sequence

from mfc_dbus.model.addresses import parse_joined, parse_stream
from mfc_dbus.model.comments import check_comment
from mfc_dbus.model.errors import RequestError
from mfc_dbus.model.interfaces import parse_interface
from mfc_dbus.model.membership import parse_memberships
from mfc_dbus.model.route import parse_route

Problems = dict[str, str]  # a sentence by the name of the field


def route_problems(
    source: str, group: str, iif: str, oifs: Sequence[str], comment: str
) -> Problems:
    """Return what is wrong with a route; empty where it can be asked for."""
    problems: Problems = {}
    _look(problems, "group", lambda: parse_stream("", group))
    if "group" not in problems:
        _look(problems, "source", lambda: parse_stream(source, group))
    _look(problems, "iif", lambda: parse_interface(iif, pattern=True))
    for oif in oifs:
        _look(problems, "oifs", lambda oif=oif: parse_interface(oif, pattern=True))  # type: ignore[misc]
    _look(problems, "comment", lambda: check_comment(comment))
    if not problems:
        _look(problems, "oifs", lambda: parse_route(source, group, iif, oifs, comment=comment))
    return problems


def membership_problems(source: str, group: str, interface: str, comment: str) -> Problems:
    """Return what is wrong with a membership; empty where it can be asked for."""
    problems: Problems = {}
    _look(problems, "group", lambda: parse_joined("", group))
    if "group" not in problems:
        _look(problems, "source", lambda: parse_joined(source, group))
    _look(problems, "interface", lambda: parse_interface(interface))
    _look(problems, "comment", lambda: check_comment(comment))
    if not problems:
        _look(problems, "group", parse_memberships(group, source, interface).memberships)
    return problems


def _look(problems: Problems, field: str, parse: Callable[[], object]) -> None:
    try:
        parse()
    except RequestError as error:
        problems.setdefault(field, str(error))
