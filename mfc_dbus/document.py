"""The route document: TOML and JSON to values and back, by one schema (pure).

What an address, an interface or a route may be is not decided here: every route goes through
`model.parse_route`, and every membership through `model.parse_membership`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, NamedTuple, get_args, get_origin

import msgspec
from msgspec import Meta, Struct, field

from mfc_dbus import toml
from mfc_dbus.addresses import format_address, format_source, of_source
from mfc_dbus.errors import InvalidArgs, RequestError
from mfc_dbus.model import Desired, Membership, Route, parse_membership, parse_route
from mfc_dbus.problems import Problems, with_lines, write_path
from mfc_dbus.quoting import quote
from mfc_dbus.toml import Path

MAX_BYTES = 24 * 1024 * 1024  # of JSON: what a message on the bus has room for
_WRONG = (msgspec.MsgspecError, RecursionError, UnicodeError)


class RouteEntry(Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """A static multicast route."""

    source: Annotated[str, Meta(description="Sender's address; left out: any source")] = "*"
    group: Annotated[str, Meta(description="Multicast group")]
    iif: Annotated[str, Meta(description="Interface on which the stream arrives")]
    oifs: Annotated[list[str], Meta(description="Interfaces by which it leaves")]
    ttls: Annotated[
        dict[
            str,
            Annotated[int, Meta(extra_json_schema={"minimum": 1, "maximum": 254})],
        ],
        Meta(description="TTL thresholds of oifs, where not 1: packets with a greater TTL leave"),
    ] = field(default_factory=dict)
    comment: Annotated[str, Meta(description="For people")] = ""
    persistent: Annotated[bool, Meta(description="Whether it outlives a reboot")] = True
    table: Annotated[int, Meta(description="Number of the routing table; 0: the default one")] = 0
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
    """A static IGMP or MLD membership."""

    source: Annotated[str, Meta(description="Only from this sender; left out: any source")] = "*"
    group: Annotated[str, Meta(description="Multicast group")]
    interface: Annotated[str, Meta(description="Interface that joins")]
    comment: Annotated[str, Meta(description="For people")] = ""
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
    """What a document says, in its order."""

    routes: Sequence[Route] = ()
    memberships: Sequence[Membership] = ()


def from_json(data: bytes | str) -> Document:
    """Read JSON. Raises InvalidArgs, with a line for each problem that begins with its path."""
    try:
        sections = _JSON_SECTIONS.decode(data)
    except _WRONG as error:
        raise InvalidArgs(f"The document is not JSON, or no object: {error}") from None

    def items(raw: msgspec.Raw) -> Sequence[Any]:
        return _JSON_ITEMS.decode(raw)

    def entry(item: Any, kind: _Kind) -> Any:
        return kind.json.decode(item)

    return _read(sections, items, entry, msgspec.json.decode)


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

    def items(value: Any) -> Sequence[Any]:
        return msgspec.convert(value, list[Any])

    def entry(item: Any, kind: _Kind) -> Any:
        return msgspec.convert(item, kind.entry)

    try:
        return _read(sections, items, entry, lambda item: item)
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
        return kind.parse(kind.json.decode(data))
    except _WRONG as error:
        raise InvalidArgs(_sentence(error)) from error
    except RequestError as error:
        raise InvalidArgs(str(error)) from error


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
    """What stands under a name in the document: how it is decoded, and made a value."""

    entry: type[Struct]
    json: msgspec.json.Decoder[Any]
    parse: Callable[[Any], Desired]


def _parse_route(entry: RouteEntry) -> Route:
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
    return route if entry.persistent else replace(route, persistent=False)


def _parse_membership(entry: MembershipEntry) -> Membership:
    membership = parse_membership(entry.group, entry.source, entry.interface, entry.comment)
    return membership if entry.persistent else replace(membership, persistent=False)


_KINDS = {
    "route": _Kind(RouteEntry, msgspec.json.Decoder(RouteEntry), _parse_route),
    "membership": _Kind(MembershipEntry, msgspec.json.Decoder(MembershipEntry), _parse_membership),
}
_JSON_SECTIONS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_JSON_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])


def _read(
    sections: Mapping[str, Any],
    items: Callable[[Any], Sequence[Any]],
    entry: Callable[[Any, _Kind], Any],
    plain: Callable[[Any], Any],
) -> Document:
    """items, entry, plain: how a section and an item of it are decoded, and with no schema."""
    problems = Problems()
    values: dict[str, list[Any]] = {name: [] for name in _KINDS}
    for name, section in sections.items():
        kind = _KINDS.get(name)
        if kind is None:
            problems.add((name,), InvalidArgs(f"is not known; there are {', '.join(_KINDS)}"))
            continue
        try:
            found = items(section)
        except _WRONG as error:
            problems.add((name,), InvalidArgs(_sentence(error)))
            continue
        seen: dict[Any, int] = {}
        for index, item in enumerate(found):
            path = (name, index)
            try:
                value = kind.parse(entry(item, kind))
            except RequestError as error:
                problems.add(path, error)
                continue
            except _WRONG as error:
                for inner, sentence in _explain(item, kind, plain, error):
                    problems.add((*path, *inner), InvalidArgs(sentence))
                continue
            first = seen.setdefault(value.key, index)
            if first != index:
                other = write_path((name, first))
                problems.add(path, InvalidArgs(f"The same is in {other} already"))
            values[name].append(value)
    problems.check()
    return Document(values["route"], values["membership"])


def _explain(
    item: Any, kind: _Kind, plain: Callable[[Any], Any], error: Exception
) -> Iterator[tuple[Path, str]]:
    """Find all that is wrong with an item, of which the decoder told only the first."""
    try:
        value = plain(item)
    except _WRONG as second:
        yield (), _sentence(second)
        return
    if not isinstance(value, dict):
        yield (), _sentence(error)
        return
    fields = {each.name: each for each in msgspec.structs.fields(kind.entry)}
    for name in value:
        if name not in fields:
            yield (name,), f"is not known; there are {', '.join(fields)}"
    for name, each in fields.items():
        if name in value:
            yield from (((name, *path), text) for path, text in _mistyped(value[name], each.type))
        elif each.required:
            yield (name,), "is missing"


def _mistyped(value: Any, type_: Any) -> Iterator[tuple[Path, str]]:
    if get_origin(type_) is Annotated:
        type_ = get_args(type_)[0]
    if isinstance(value, dict) and get_origin(type_) is dict:
        for key, each in value.items():
            yield from (((key, *path), text) for path, text in _mistyped(each, get_args(type_)[1]))
        return
    try:
        msgspec.convert(value, type_)
    except _WRONG as error:
        yield (), _sentence(error)


def _sentence(error: Exception) -> str:
    return str(error).partition(" - at `$")[0]
