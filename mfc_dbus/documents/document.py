"""The route document: TOML and JSON to values and back, by the schema of its entries (pure).

What an address, an interface or a route may be is not decided here: every route goes through
`model.parse_route`, and every membership through `model.parse_memberships`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from mfc_dbus.documents import toml_text
from mfc_dbus.documents.entries import (
    MembershipEntry,
    RouteEntry,
    to_membership_entry,
    write_route,
)
from mfc_dbus.documents.expectations import (
    JSON_WORDS,
    TOML_WORDS,
    Words,
    check_repeated,
    explain,
    what_is_no_json,
)
from mfc_dbus.documents.problem_lines import with_lines
from mfc_dbus.model.desired import Desired
from mfc_dbus.model.errors import InvalidArgs, LimitExceeded, RequestError
from mfc_dbus.model.membership import Membership, parse_memberships
from mfc_dbus.model.options import said_of_membership, said_of_route
from mfc_dbus.model.problems import KeyPath, Problems, write_path
from mfc_dbus.model.quoting import quote
from mfc_dbus.model.route import Route, parse_route

MAX_BYTES = 24 * 1024 * 1024  # of JSON: a message on the bus has room for no more
_MAX_MEMBERSHIPS = 65_536  # of a document, whose entries may be prefixes
_BOM = "\ufeff"
_WRONG = (msgspec.MsgspecError, RecursionError, UnicodeError)


@dataclass(frozen=True, slots=True)
class Document:
    """The contents of a document, in its order.

    joins: the entries of memberships as they are written, which may be of prefixes. places: for
    each of `memberships` the index of its entry in `joins`.
    """

    routes: list[Route]
    memberships: Sequence[Membership] = ()
    joins: Sequence[MembershipEntry] = ()
    places: Sequence[int] = ()

    @property
    def empty(self) -> bool:
        return not self.routes and not self.memberships


def from_json(data: bytes | str) -> Document:
    """Read JSON. Raises InvalidArgs, with a line for each problem that begins with its path."""
    text = data if isinstance(data, str) else data.decode(errors="replace")
    text = text.removeprefix(_BOM)
    try:
        sections = _JSON_SECTIONS.decode(text)
    except _WRONG:
        raise InvalidArgs(what_is_no_json(text)) from None
    check_repeated(text, _KINDS)
    return _read(sections, _JSON)


def from_toml(text: str) -> Document:
    """Read TOML. Raises InvalidArgs, with a line for each problem: "line 7: route[1].iif: ..."."""
    try:
        sections = toml_text.loads(text)
    except toml_text.NotToml as error:
        problems = Problems()
        for line, sentence in error.mistakes():
            problems.add_at(f"line {line}", InvalidArgs(sentence))
            if problems.full:
                break
        problems.check()
        raise  # not reached: a text that is not TOML has a mistake
    try:
        return _read(sections, _TOML)
    except InvalidArgs as error:
        raise InvalidArgs(with_lines(str(error), text)) from None


def to_json(routes: Iterable[RouteEntry], memberships: Iterable[MembershipEntry] = ()) -> bytes:
    """Write JSON, an entry a line."""
    sections = {"route": routes, "membership": memberships}
    return join_json({name: map(msgspec.json.encode, each) for name, each in sections.items()})


def join_json(sections: Mapping[str, Iterable[bytes]]) -> bytes:
    """Write JSON, of entries that are JSON already."""
    arrays = {name: b",\n".join(parts) for name, parts in sections.items()}
    written = (b'"%s":[%s]' % (name.encode(), array) for name, array in arrays.items() if array)
    return b"{" + b",\n".join(written) + b"}"


def to_toml(routes: Iterable[RouteEntry], memberships: Iterable[MembershipEntry] = ()) -> str:
    sections = (("route", routes), ("membership", memberships))
    return "\n".join(
        toml_text.write_table(name, msgspec.to_builtins(entry))
        for name, entries in sections
        for entry in entries
    )


def write_entry(desired: Desired) -> tuple[str, bytes]:
    """Return a document's entry of a route or membership: the section's name, and JSON."""
    if isinstance(desired, Route):
        return "route", write_route(desired)
    return "membership", msgspec.json.encode(to_membership_entry(desired))


def read_entry(section: str, data: bytes) -> Desired:
    """Read an entry of `write_entry`, with the checks of a document. Raises InvalidArgs."""
    kind = _KINDS.get(section)
    if kind is None:
        raise InvalidArgs(f"There is no section {quote(section)}")
    try:
        found = kind.parse(kind.json.decode(data))
    except _WRONG as error:
        (path, sentence), *_ = _explain(data, section, kind, _JSON)
        raise InvalidArgs(f"{write_path(path)} {sentence}".strip()) from error
    except RequestError as error:
        raise InvalidArgs(str(error)) from error
    if len(found) != 1:
        raise InvalidArgs(f"It is {len(found)} of its kind, and not one")
    return found[0]


# From entries to values


class _Kind(NamedTuple):
    """A section of the document: the type of its entries, how to decode and how to parse them."""

    entry: type[Struct]
    json: msgspec.json.Decoder[Any]
    parse: Callable[[Any], Sequence[Desired]]


def _parse_route(entry: RouteEntry) -> Sequence[Route]:
    said = said_of_route(entry)
    return [parse_route(entry.source, entry.group, entry.iif, entry.oifs, **said)]


def _parse_memberships(entry: MembershipEntry) -> Sequence[Membership]:
    range_ = parse_memberships(entry.group, entry.source, entry.interface)
    return range_.memberships(**said_of_membership(entry))


_KINDS = {
    "route": _Kind(RouteEntry, msgspec.json.Decoder(RouteEntry), _parse_route),
    "membership": _Kind(MembershipEntry, msgspec.json.Decoder(MembershipEntry), _parse_memberships),
}
_JSON_SECTIONS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_JSON_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])


class _Form(NamedTuple):
    """One of the two forms of a document: JSON or TOML.

    items: splits a section into its items. entry: decodes an item by the schema. plain: decodes
    a section or an item without the schema. words: for sentences about problems.
    """

    items: Callable[[Any], list[Any]]
    entry: Callable[[Any, _Kind], Any]
    plain: Callable[[Any], Any]
    words: Words


_JSON = _Form(
    items=_JSON_ITEMS.decode,
    entry=lambda item, kind: kind.json.decode(item),
    plain=msgspec.json.decode,
    words=JSON_WORDS,
)
_TOML = _Form(
    items=lambda value: msgspec.convert(value, list[Any]),
    entry=lambda item, kind: msgspec.convert(item, kind.entry),
    plain=lambda value: value,
    words=TOML_WORDS,
)


def _read(sections: dict[str, Any], form: _Form) -> Document:
    """Read the sections, and empty them, so that the tables of a long text are freed one by one."""
    problems = Problems()
    values: dict[str, list[Any]] = {name: [] for name in _KINDS}
    joins: list[MembershipEntry] = []
    places: list[int] = []
    for name in [*sections]:
        section = sections.pop(name)
        if problems.full:
            break
        kind = _KINDS.get(name)
        if kind is None:
            problems.add((name,), InvalidArgs(f"is not known; there are {', '.join(_KINDS)}"))
            continue
        try:
            found = form.items(section)
        except _WRONG:
            for _, sentence in _explain(section, name, None, form):
                problems.add((name,), InvalidArgs(sentence))
            continue
        del section  # else it would keep the items that are taken from `found`
        seen: dict[Any, int] = {}
        for index, item in enumerate(_drain(found)):
            path = (name, index)
            if problems.full:
                break
            try:
                entry = form.entry(item, kind)
                parsed = kind.parse(entry)
            except RequestError as error:
                problems.add(path, error)
                continue
            except _WRONG:
                for inner, sentence in _explain(item, name, kind, form):
                    problems.add((*path, *inner), InvalidArgs(sentence))
                continue
            for each in parsed:
                first = seen.setdefault(each.key, index)
                if first != index:
                    other = write_path((name, first))
                    what = "The same" if len(parsed) == 1 else str(each)
                    problems.add(path, InvalidArgs(f"{what} is in {other} already"))
                    break
            values[name] += parsed
            if isinstance(entry, MembershipEntry):
                joins.append(entry)
                places += [index] * len(parsed)
                if len(places) > _MAX_MEMBERSHIPS:
                    limit = f"These are more than {_MAX_MEMBERSHIPS} memberships"
                    problems.add(path, LimitExceeded(limit))
                    break
    problems.check()
    return Document(values["route"], values["membership"], joins, places)


def _drain(items: list[Any]) -> Iterator[Any]:
    """Yield the items of a list, and remove them from it."""
    items.reverse()
    while items:
        yield items.pop()


def _explain(
    item: Any, name: str, kind: _Kind | None, form: _Form
) -> Iterable[tuple[KeyPath, str]]:
    """Return path and sentence of each problem of an item, or of a section, which has no kind."""
    try:
        value = form.plain(item)
    except _WRONG:
        return [((), "This is not JSON")]
    if kind is None:
        return [((), form.words.no_array(value, name))]
    return explain(value, name, kind.entry, form.words)
