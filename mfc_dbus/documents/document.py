"""The route document: TOML and JSON to values and back, by one schema (pure).

What an address, an interface or a route may be is not decided here: every route goes through
`model.parse_route`, and every membership through `model.parse_memberships`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta, Struct, field

from mfc_dbus.documents import toml_text as toml
from mfc_dbus.documents.expectations import (
    JSON_WORDS,
    TOML_WORDS,
    Words,
    check_repeated,
    explain,
    what_is_no_json,
)
from mfc_dbus.documents.problem_lines import Problems, with_lines, write_path
from mfc_dbus.documents.toml_text import Path
from mfc_dbus.model.addresses import format_address, format_source, of_source
from mfc_dbus.model.errors import InvalidArgs, LimitExceeded, RequestError
from mfc_dbus.model.quoting import quote
from mfc_dbus.model.route import Desired, Membership, Route, parse_memberships, parse_route

MAX_BYTES = 24 * 1024 * 1024  # of JSON: what a message on the bus has room for
_MAX_MEMBERSHIPS = 65_536  # of a document, whose entries may be prefixes
_BOM = "\ufeff"
_WRONG = (msgspec.MsgspecError, RecursionError, UnicodeError)


class RouteEntry(Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """A static multicast route."""

    source: Annotated[
        str,
        Meta(
            description="Sender's address, or a prefix; left out: any source",
            examples=["10.0.1.10"],
        ),
    ] = "*"
    group: Annotated[
        str, Meta(description="Multicast group, or a prefix", examples=["239.10.20.30"])
    ]
    iif: Annotated[
        str, Meta(description="Interface on which the stream arrives", examples=["eth1"])
    ]
    oifs: Annotated[
        list[str],
        Meta(description="Interfaces by which it leaves", examples=[["eth2", "eth3"]]),
    ]
    ttls: Annotated[
        dict[
            str,
            Annotated[int, Meta(extra_json_schema={"minimum": 1, "maximum": 254}, examples=[16])],
        ],
        Meta(
            description="TTL thresholds of oifs, where not 1: packets with a greater TTL leave",
            examples=[{"eth3": 16}],
        ),
    ] = field(default_factory=dict)
    comment: Annotated[str, Meta(description="For people", examples=["the lobby"])] = ""
    persistent: Annotated[bool, Meta(description="Whether it outlives a reboot")] = True
    table: Annotated[
        int, Meta(description="Number of the routing table; 0: the default one", examples=[100])
    ] = 0
    hairpin: Annotated[
        bool,
        Meta(description="Whether it leaves by the interface it arrives on, if that is an oif"),
    ] = False


class RouteReport(
    RouteEntry, kw_only=True, omit_defaults=True, forbid_unknown_fields=False, gc=False
):
    """A route with what became of it; counters of a route that has its own in the kernel."""

    state: str
    reason: str = ""
    origin: str = "bus"
    expires: int = 0
    packets: int | msgspec.UnsetType = msgspec.UNSET
    bytes: int | msgspec.UnsetType = msgspec.UNSET
    wrong_if: int | msgspec.UnsetType = msgspec.UNSET


class MembershipEntry(Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A static IGMP or MLD membership, or those of a prefix."""

    source: Annotated[
        str,
        Meta(
            description="Only from this sender, or each of a prefix; left out: any source",
            examples=["10.0.1.10"],
        ),
    ] = "*"
    group: Annotated[
        str,
        Meta(description="Multicast group, or a prefix: each of them", examples=["239.10.20.30"]),
    ]
    interface: Annotated[str, Meta(description="Interface that joins", examples=["eth1"])]
    comment: Annotated[str, Meta(description="For people", examples=["the lobby"])] = ""
    persistent: Annotated[bool, Meta(description="Whether it outlives a reboot")] = True


class MembershipReport(
    MembershipEntry, kw_only=True, omit_defaults=True, forbid_unknown_fields=False
):
    """A membership with what became of it; reason: why it failed."""

    state: str
    reason: str = ""
    origin: str = "bus"


class Report(Struct):
    """What the service describes; a newer one may tell more."""

    route: list[RouteReport] = field(default_factory=list)
    membership: list[MembershipReport] = field(default_factory=list)


class Layout(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A multicast router, for mfc-dbus-cli apply and for /etc/mfc-dbus/routes.d."""

    route: list[RouteEntry] = field(default_factory=list)
    membership: list[MembershipEntry] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Document:
    """What a document says, in its order.

    joins: its memberships as they are written. places: for each of `memberships` the index of its
    entry in `joins`, which may be a prefix.
    """

    routes: Sequence[Route] = ()
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
        sections = toml.loads(text)
    except toml.NotToml as error:
        problems = Problems()
        for line, sentence in error.mistakes():
            problems.add_at(f"line {line}", InvalidArgs(sentence))
            if problems.full:
                break
        problems.check()
        raise  # not reached: what is not TOML has a mistake
    try:
        return _read(sections, _TOML)
    except InvalidArgs as error:
        raise InvalidArgs(with_lines(str(error), text)) from None


def to_json(routes: Iterable[RouteEntry], memberships: Iterable[MembershipEntry] = ()) -> bytes:
    """Write JSON, an entry a line."""
    sections = {"route": routes, "membership": memberships}
    return join_json({name: map(msgspec.json.encode, each) for name, each in sections.items()})


def join_json(sections: Mapping[str, Iterable[bytes]]) -> bytes:
    """Write JSON of entries that are written already."""
    arrays = {name: b",\n".join(parts) for name, parts in sections.items()}
    written = (b'"%s":[%s]' % (name.encode(), array) for name, array in arrays.items() if array)
    return b"{" + b",\n".join(written) + b"}"


def to_toml(routes: Iterable[RouteEntry], memberships: Iterable[MembershipEntry] = ()) -> str:
    sections = (("route", routes), ("membership", memberships))
    return "\n".join(
        toml.write_table(name, msgspec.to_builtins(entry))
        for name, entries in sections
        for entry in entries
    )


def to_entry(route: Route) -> RouteEntry:
    return RouteEntry(**_fields(route))


def to_membership_entry(membership: Membership) -> MembershipEntry:
    return MembershipEntry(**_membership_fields(membership))


def report(route: Route, state: str, reason: str = "") -> RouteReport:
    """Describe a route, without its counters."""
    return RouteReport(
        **_fields(route),
        state=state,
        reason=reason,
        origin=route.origin,
        expires=route.expires // 1000,
    )


def report_membership(membership: Membership, state: str, reason: str) -> MembershipReport:
    return MembershipReport(
        **_membership_fields(membership), state=state, reason=reason, origin=membership.origin
    )


def _fields(route: Route) -> dict[str, Any]:
    return {
        "source": format_source(route.source),
        "group": str(route.group),
        "iif": route.iif,
        "oifs": [oif.name for oif in route.oifs],
        "ttls": {oif.name: oif.ttl for oif in route.oifs if oif.ttl != 1},
        "comment": route.comment,
        "persistent": route.persistent,
        "table": route.table,
        "hairpin": route.hairpin,
    }


def _membership_fields(membership: Membership) -> dict[str, Any]:
    return {
        "source": format_source(of_source(membership.source)),
        "group": format_address(membership.group),
        "interface": membership.interface,
        "comment": membership.comment,
        "persistent": membership.persistent,
    }


def write_entry(desired: Desired) -> tuple[str, bytes]:
    """Write what a document would have of a route or membership: the section's name, and JSON."""
    if isinstance(desired, Route):
        return "route", msgspec.json.encode(to_entry(desired))
    return "membership", msgspec.json.encode(to_membership_entry(desired))


def read_entry(section: str, data: bytes) -> Desired:
    """Read what `write_entry` wrote, by the checks of a document. Raises InvalidArgs."""
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


def read_report(text: str) -> Report:
    """Read what the service describes. Raises ValueError."""
    try:
        return _REPORT.decode(text)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error


def json_schema() -> bytes:
    """Describe the document in JSON Schema, for editors and for other people's programs."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return msgspec.json.format(msgspec.json.encode(schema | msgspec.json.schema(Layout)))


_REPORT = msgspec.json.Decoder(Report)

# From entries to values


class _Kind(NamedTuple):
    """What stands under a name in the document: how it is decoded, and made values."""

    entry: type[Struct]
    json: msgspec.json.Decoder[Any]
    parse: Callable[[Any], Sequence[Desired]]


def _parse_route(entry: RouteEntry) -> Sequence[Route]:
    route = parse_route(
        entry.source,
        entry.group,
        entry.iif,
        entry.oifs,
        entry.ttls,
        entry.comment,
        entry.table,
        hairpin=entry.hairpin,
    )
    return [route if entry.persistent else replace(route, persistent=False)]


def _parse_memberships(entry: MembershipEntry) -> Sequence[Membership]:
    range_ = parse_memberships(entry.group, entry.source, entry.interface, entry.comment)
    return range_.memberships(entry.comment, persistent=entry.persistent)


_KINDS = {
    "route": _Kind(RouteEntry, msgspec.json.Decoder(RouteEntry), _parse_route),
    "membership": _Kind(MembershipEntry, msgspec.json.Decoder(MembershipEntry), _parse_memberships),
}
_JSON_SECTIONS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_JSON_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])


class _Form(NamedTuple):
    """One of the two forms of a document: how its parts are decoded, and how it is spoken of.

    items, entry, plain: how a section and an item of it are decoded, and either with no schema.
    """

    items: Callable[[Any], Sequence[Any]]
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


def _read(sections: Mapping[str, Any], form: _Form) -> Document:
    problems = Problems()
    values: dict[str, list[Any]] = {name: [] for name in _KINDS}
    joins: list[MembershipEntry] = []
    places: list[int] = []
    for name, section in sections.items():
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
        seen: dict[Any, int] = {}
        for index, item in enumerate(found):
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
            twice = next((v for v in parsed if seen.setdefault(v.key, index) != index), None)
            if twice is not None:
                other = write_path((name, seen[twice.key]))
                what = "The same" if len(parsed) == 1 else str(twice)
                problems.add(path, InvalidArgs(f"{what} is in {other} already"))
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


def _explain(item: Any, name: str, kind: _Kind | None, form: _Form) -> Iterable[tuple[Path, str]]:
    """Find all that is wrong with an item, or without a kind a section, that was not decoded."""
    try:
        value = form.plain(item)
    except _WRONG:
        return [((), "This is not JSON")]
    if kind is None:
        return [((), form.words.no_array(value, name))]
    return explain(value, name, kind.entry, form.words)
