"""The entries of a route document, which are its schema, and those of the service's report (pure).

An entry is what a document says of a route or membership; that of a report has its state too.
"""

import functools
from collections.abc import Iterable
from operator import attrgetter
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field

from mfc_dbus.model.addresses import format_address, format_source, source_prefix
from mfc_dbus.model.membership import Membership
from mfc_dbus.model.options import (
    MEMBERSHIP,
    ROUTE,
    TTLS,
    Option,
    said_of_membership,
    said_of_route,
)
from mfc_dbus.model.route import Oif, Route
from mfc_dbus.names import ANY_SOURCE

# The type of an option's value in a document, by its signature on the bus.
_THRESHOLD = Annotated[int, Meta(extra_json_schema={"minimum": 1, "maximum": 254}, examples=[16])]
_TYPES = {"s": str, "b": bool, "u": int, "a{sy}": dict[str, _THRESHOLD]}


def _with_options(base: type[Struct], options: Iterable[Option]) -> type[Struct]:
    """Make a subclass of a struct, with a field more for each option."""
    fields = []
    for option in options:
        examples = None if option.example is None else [option.example]
        told = Meta(description=option.meaning, examples=examples)
        fields.append((option.name, Annotated[_TYPES[option.signature], told], option.default))
    return msgspec.defstruct(base.__name__, fields, bases=(base,), kw_only=True)


class _RouteEntry(Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
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


class RouteEntry(_with_options(_RouteEntry, ROUTE), _RouteEntry):  # type: ignore[misc] # made by a call
    """A static multicast route."""


class RouteReport(
    RouteEntry, kw_only=True, omit_defaults=True, forbid_unknown_fields=False, gc=False
):
    """A route with its state, and its counters if the kernel has an entry for the route itself."""

    state: str
    reason: str = ""
    origin: str = "bus"
    expires: int = 0
    packets: int | msgspec.UnsetType = msgspec.UNSET
    bytes: int | msgspec.UnsetType = msgspec.UNSET
    wrong_if: int | msgspec.UnsetType = msgspec.UNSET


class _MembershipEntry(Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
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


class MembershipEntry(_with_options(_MembershipEntry, MEMBERSHIP), _MembershipEntry):  # type: ignore[misc]
    """A static IGMP or MLD membership, or those of a prefix."""


class MembershipReport(
    MembershipEntry, kw_only=True, omit_defaults=True, forbid_unknown_fields=False
):
    """A membership with its state; reason: why it failed."""

    state: str
    reason: str = ""
    origin: str = "bus"


class Report(Struct):
    """The answer of Describe; unknown fields of a newer service are ignored."""

    route: list[RouteReport] = field(default_factory=list)
    membership: list[MembershipReport] = field(default_factory=list)


class Layout(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A multicast router, for mfc-dbus-cli apply and for /etc/mfc-dbus/routes.d."""

    route: list[RouteEntry] = field(default_factory=list)
    membership: list[MembershipEntry] = field(default_factory=list)


_REPORT = msgspec.json.Decoder(Report)


def to_entry(route: Route) -> RouteEntry:
    return RouteEntry(
        source=format_source(route.source),
        group=str(route.group),
        iif=route.iif,
        oifs=[oif.name for oif in route.oifs],
        **said_of_route(route),
    )


_OTHERS = attrgetter(*(option.name for option in ROUTE if option is not TTLS))  # oifs have these


def write_route(route: Route) -> bytes:
    """Write a route's entry in JSON, as msgspec writes it. The service does it for each change."""
    source, group = format_source(route.source), str(route.group)
    before = b'{"source":"%b","group":"%b"' % (source.encode(), group.encode())
    if source == ANY_SOURCE:
        before = b'{"group":"%b"' % group.encode()
    return before + _write_after_group(route.iif, route.oifs, _OTHERS(route))


@functools.lru_cache(maxsize=1024)
def _write_after_group(iif: str, oifs: tuple[Oif, ...], others: tuple[Any, ...]) -> bytes:
    """Write what comes after the group, which is the same for very many routes.

    others: the values of the options but TTL thresholds.
    """
    names = [option.name for option in ROUTE if option is not TTLS]
    said: dict[str, Any] = dict(zip(names, others, strict=True))
    said[TTLS.name] = {name: ttl for name, ttl in oifs if ttl != 1}
    entry = RouteEntry(group="", iif=iif, oifs=[name for name, _ in oifs], **said)
    return msgspec.json.encode(entry).removeprefix(b'{"group":""')


def to_membership_entry(membership: Membership) -> MembershipEntry:
    return MembershipEntry(**_membership_fields(membership))


def report(route: Route, state: str, reason: str = "") -> RouteReport:
    """Describe a route, without its counters."""
    return RouteReport(
        source=format_source(route.source),
        group=str(route.group),
        iif=route.iif,
        oifs=[oif.name for oif in route.oifs],
        state=state,
        reason=reason,
        origin=route.origin,
        expires=route.expires // 1000,
        **said_of_route(route),
    )


def report_membership(membership: Membership, state: str, reason: str) -> MembershipReport:
    return MembershipReport(
        **_membership_fields(membership), state=state, reason=reason, origin=membership.origin
    )


def _membership_fields(membership: Membership) -> dict[str, Any]:
    return {
        "source": format_source(source_prefix(membership.source)),
        "group": format_address(membership.group),
        "interface": membership.interface,
        **said_of_membership(membership),
    }


def read_report(text: str) -> Report:
    """Read the answer of Describe. Raises ValueError."""
    try:
        return _REPORT.decode(text)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error


def json_schema() -> bytes:
    """Describe the document in JSON Schema, for editors and for other people's programs."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return msgspec.json.format(msgspec.json.encode(schema | msgspec.json.schema(Layout)))
