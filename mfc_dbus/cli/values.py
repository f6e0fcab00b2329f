"""The values that completion offers: what there is on this machine, and in the service.

The name of an argument, or what stands for it in the help, tells what its values are. Nobody waits
long for the service. Where there are more than MOST values none is offered: whoever sees some takes
them for all.
"""

import argparse
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

from mfc_dbus.cli.arguments import COMMANDS, Command, complete
from mfc_dbus.cli.filters import STATES

if TYPE_CHECKING:
    from mfc_dbus.client import Client
    from mfc_dbus.documents.entries import MembershipReport, Report, RouteReport

    Entry = RouteReport | MembershipReport

MOST = 1_000
_PATIENCE = 1.0  # seconds

_Answer = TypeVar("_Answer")
Typed = dict[str, list[str]]  # the values of arguments so far, by the names of these


class Offer(NamedTuple):
    """A word that may come next; without a word: what the shell is to offer there."""

    word: str
    help: str = ""


class WordToComplete(NamedTuple):
    """What a value is to begin with, what was typed before it, and for which command."""

    beginning: str
    typed: Mapping[str, Sequence[str]]
    command: Command

    @property
    def is_elsewhere(self) -> bool:
        """Whether the command is for another machine, of which nothing is known here."""
        return "host" in self.typed


def values(action: argparse.Action, asked: WordToComplete) -> Iterator[Offer]:
    """Offer values of an argument, also such as do not begin so. Raises UsageError."""
    if action.choices:
        yield from map(Offer, action.choices)
        return
    kinds = kinds_of(action)
    before = ""
    if kinds == ["IF"] and action.nargs == "+":  # "eth1,eth2"
        before = asked.beginning[: asked.beginning.rfind(",") + 1]
        asked = asked._replace(beginning=asked.beginning[len(before) :])
    for kind in kinds:
        if kind in KINDS:
            found = [*KINDS[kind](asked)]
            if len(found) <= MOST:
                yield from (each._replace(word=each.word and before + each.word) for each in found)
        elif not (kind.isupper() or action.dest in asked.typed or asked.command.defaults):
            yield Offer(kind)


def kinds_of(action: argparse.Action) -> list[str]:
    """Return what a value of an argument may be: of KINDS, a word, or in capitals any text."""
    if action.dest in KINDS:
        return [action.dest]
    return str(action.metavar or action.dest.upper()).split("|")


def _states(_: WordToComplete) -> Iterator[Offer]:
    yield from map(Offer, STATES)


def _words(asked: WordToComplete) -> Iterator[Offer]:
    command = COMMANDS
    for word in asked.typed.get("words", ()):
        command = command.words[complete(word, command.words)]
    for word, each in command.words.items():
        yield Offer(word, each.summary)


def _interfaces(asked: WordToComplete) -> Iterator[Offer]:
    """Offer the interfaces of this machine, and those that routes and memberships name."""
    names: set[str] = set()
    for entry in _entries(asked, None):
        names |= {entry.interface} if hasattr(entry, "interface") else {entry.iif, *entry.oifs}
    names |= {each.name for each in _ask(asked, lambda client: client.interfaces()) or ()}
    if not asked.is_elsewhere:
        names |= {name for _, name in socket.if_nameindex()}
    yield from map(Offer, sorted(names))


def _thresholds(asked: WordToComplete) -> Iterator[Offer]:
    if "=" not in asked.beginning:
        for name, _ in _interfaces(asked):
            yield Offer(f"{name}=")


def _groups(asked: WordToComplete) -> Iterator[Offer]:
    entries = _entries(asked, _covering(asked.beginning))
    yield from map(Offer, sorted({entry.group for entry in entries}))


def _sources(asked: WordToComplete) -> Iterator[Offer]:
    yield from map(Offer, sorted({entry.source for entry in _entries(asked, None)}))


def _addresses(asked: WordToComplete) -> Iterator[Offer]:
    if asked.beginning:  # there are shorter words to begin with
        entries = _entries(asked, None)
        yield from map(Offer, sorted({each for one in entries for each in (one.group, one.source)}))


def _tables(asked: WordToComplete) -> Iterator[Offer]:
    tables = _ask(asked, lambda client: client.tables()) or ()
    yield from (Offer(str(number)) for number in sorted({each.table for each in tables}))


def _changes(asked: WordToComplete) -> Iterator[Offer]:
    changes, _ = _ask(asked, lambda client: client.history()) or ((), 0)
    for change in changes:
        what = f"({change.source}, {change.group})" if change.group else ""
        yield Offer(
            str(change.number), f"{change.user or change.uid}: {change.action} {what}".strip()
        )


def _entries(asked: WordToComplete, group: str | None) -> "Sequence[Entry]":
    """Return routes and memberships of the source and group that were typed, as far as they were.

    group: a prefix in which their groups are. Of all routes there are none where these are more
    than MOST: reading them takes long.
    """
    if typed := asked.typed.get("group"):
        group = typed[-1]

    async def look(client: "Client") -> "Report | None":
        routes = 0 if group else sum(each.routes for each in await client.tables())
        return await client.describe(group=group) if routes <= MOST else None

    report = _ask(asked, look)
    found: list[Entry] = [*report.route, *report.membership] if report else []
    for name in ("group", "source"):
        if asked.typed.get(name):
            found = [each for each in found if getattr(each, name) == asked.typed[name][-1]]
    return found


def _covering(beginning: str) -> str | None:
    """Return a prefix of the groups that begin so, as far as that can be said by one."""
    whole = beginning.split(".")[:-1]
    if whole and len(whole) < 4 and all(each.isascii() and each.isdigit() for each in whole):
        return f"{'.'.join([*whole, '0', '0', '0'][:4])}/{8 * len(whole)}"
    return None


def _ask(
    asked: WordToComplete, question: "Callable[[Client], Coroutine[Any, Any, _Answer]]"
) -> "_Answer | None":
    """Return what the service answers, or None where it does not in time."""
    if asked.is_elsewhere:
        return None  # nobody wants to type a password now
    from mfc_dbus.client import Client, ClientError, finish

    def stop(*_: object) -> NoReturn:
        raise TimeoutError

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, _PATIENCE)
    try:
        with Client.open_blocking() as client:
            return finish(question(client))
    except (ClientError, OSError):
        return None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


# What a value may be, by the name of its argument or by what stands for it in the help.
KINDS: Mapping[str, Callable[[WordToComplete], Iterator[Offer]]] = {
    "group": _groups,
    "source": _sources,
    "state": _states,
    "table": _tables,
    "ADDRESS": _addresses,
    "IF": _interfaces,
    "IF=N": _thresholds,
    "NUMBER": _changes,
    "WORD": _words,
    "FILE": lambda _: iter([Offer("", "files")]),
    "[USER@]HOST": lambda _: iter([Offer("", "hosts")]),
}
