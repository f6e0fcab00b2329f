"""Commands to type against what was found. Words in capitals are for who types them to replace."""

import shlex
from collections.abc import Sequence

from mfc_dbus.explain.situation import StreamQuestion
from mfc_dbus.model.addresses import Prefix, format_source
from mfc_dbus.model.interfaces import is_pattern
from mfc_dbus.model.route import Route

CLI = "mfc-dbus-cli"


def typed(*words: str) -> str:
    return shlex.join(words)


def add(question: StreamQuestion, source: Prefix, iif: str, oifs: Sequence[str]) -> str:
    """Add a route for a stream."""
    stream = [*_stream(source, question.group, question.table), "--iif", iif or "IF"]
    return typed(CLI, "mfc", "add", *stream, "--oifs", *(oifs or ["IF"]))


def change(route: Route, *changes: str) -> str:
    """Change a part of a route."""
    which = [] if route.is_sg else ["--iif", route.iif]
    stream = _stream(route.source, route.group, route.table)
    return typed(CLI, "mfc", "change", *stream, *which, *changes)


def delete(route: Route) -> str:
    which = [] if route.is_sg else ["--iif", route.iif]
    return typed(CLI, "mfc", "del", *_stream(route.source, route.group, route.table), *which)


def move(route: Route, iif: str) -> str:
    """Have a route take its streams from another interface."""
    if is_pattern(route.iif) or not iif:
        return change(route, "--to-iif", iif or "IF")
    leaves_there = not route.hairpin and any(oif.name == iif for oif in route.oifs)
    first = ["--remove-oifs", iif] if leaves_there else []
    return change(route, *first, "--to-iif", iif)


def join(question: StreamQuestion, iif: str) -> str:
    """Join the group, so that switches and routers send it here."""
    source = [] if not question.source.length else ["--source", str(question.source)]
    return typed(CLI, "group", "join", "--group", str(question.group), *source, "--interface", iif)


def sysctl(*settings: str) -> str:
    return typed("sysctl", "-w", *settings)


def no_rp_filter(iif: str, *, of_all: bool) -> str:
    """Switch the reverse path filter off on an interface. of_all: it is set for all, too."""
    names = ["all", iif] if of_all else [iif]
    return sysctl(*(f"net/ipv4/conf/{name}/rp_filter=0" for name in names))


def watch(question: StreamQuestion, iif: str) -> str:
    """See the packets of the stream as they arrive."""
    words = ["tcpdump", "-ni", iif, "dst", str(question.group)]
    if question.source.length:
        words += ["and", "src", str(question.source)]
    return typed(*words)


def _stream(source: Prefix, group: Prefix, table: int) -> list[str]:
    words = ["--source", format_source(source)] if source.length else []
    return [*words, "--group", str(group), *(["--table", str(table)] if table else [])]
