"""The values that the client returns: routes, memberships, events and more (pure)."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from mfc_dbus.client.errors import bad_reply
from mfc_dbus.names import ANY_SOURCE

if TYPE_CHECKING:
    from mfc_dbus.documents.entries import MembershipReport, RouteReport

RouteKey = tuple[str, str, str, int]
MembershipKey = tuple[str, str, str]
Info = TypeVar(
    "Info",
    "RouteInfo",
    "InterfaceInfo",
    "TableInfo",
    "MembershipInfo",
    "StreamInfo",
    "FindingInfo",
    "StatisticsInfo",
    "PastChangeInfo",
    "CauseInfo",
)


class RouteInfo(NamedTuple):
    """A route of the service."""

    source: str  # or a prefix; "*" for any source
    group: str  # or a prefix
    iif: str
    oifs: tuple[str, ...]
    state: str  # of RouteState, or one that a newer service has
    ttls: Mapping[str, int] = {}  # where not the default
    comment: str = ""
    persistent: bool = True  # kept over a reboot
    expires: int = 0  # microseconds on the boot-time clock; 0: never
    origin: str = "bus"  # "config": from /etc/mfc-dbus/routes.d
    table: int = 0  # number; 0: the default one
    reason: str = ""  # why it is not active
    hairpin: bool = False  # whether streams leave by the interface that they arrive on too
    enabled: bool = True  # if not, it is kept, and as if it were not there

    @property
    def key(self) -> RouteKey:
        """The key that no other route has. Of a wide route there may be one for each iif."""
        return _key(self.source, self.group, self.iif, self.table)

    def __hash__(self) -> int:
        return hash(self.key)

    def to_json(self) -> dict[str, Any]:
        return self._asdict()


class InterfaceInfo(NamedTuple):
    """An interface that has a VIF in a table, for its routes or since it is watched."""

    name: str
    family: str  # ipv4, ipv6
    vif: int
    ifindex: int
    references: int
    state: str  # of InterfaceState
    packets_in: int = 0  # counters are 0 where the interface is missing
    packets_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    table: int = 0  # number; 0: the default one

    def to_json(self) -> dict[str, Any]:
        return self._asdict()


class TableInfo(NamedTuple):
    """A multicast routing table of the kernel."""

    family: str  # ipv4, ipv6
    table: int
    state: str  # of TableState
    routes: int
    interfaces: int
    reason: str = ""  # why it is unavailable

    @property
    def name(self) -> str:
        """Its name in the settings: "ipv4", "ipv6/100"."""
        return f"{self.family}/{self.table}" if self.table else self.family

    def to_json(self) -> dict[str, Any]:
        return self._asdict()


class MembershipInfo(NamedTuple):
    """A group that is joined on an interface."""

    source: str  # "*" for any source
    group: str
    interface: str
    state: str  # of MembershipState
    reason: str = ""  # why it failed
    comment: str = ""
    persistent: bool = True  # kept over a reboot
    origin: str = "bus"  # "config": from /etc/mfc-dbus/routes.d

    @property
    def key(self) -> MembershipKey:
        """The key that no other membership has."""
        return self.source, self.group, self.interface

    def to_json(self) -> dict[str, Any]:
        return self._asdict()


class StreamInfo(NamedTuple):
    """What the kernel forwards: a route, or a stream of one that is wider than its entries."""

    source: str  # "*" for any source
    group: str
    iif: str
    oifs: tuple[str, ...]
    learned: bool  # whether it is a stream of a wider route
    route_source: str
    route_group: str
    route_iif: str
    packets: int | None = None  # counters are None where the kernel does not tell them apart
    bytes: int | None = None
    wrong_if: int | None = None  # packets that came in by another interface
    packets_per_second: float | None = None  # rates are None until it was asked about before
    bits_per_second: float | None = None
    idle: float | None = None  # seconds since packets came; None: not since it was first asked for
    table: int = 0  # number; 0: the default one
    comment: str = ""  # of the route

    @property
    def route_key(self) -> RouteKey:
        """The `RouteInfo.key` of its route."""
        return _key(self.route_source, self.route_group, self.route_iif, self.table)

    def to_json(self) -> dict[str, Any]:
        return self._asdict()


class StatisticsInfo(NamedTuple):
    """What the service has done since it started; calls by their methods."""

    calls: Mapping[str, int] = {}
    call_errors: Mapping[str, int] = {}
    call_seconds: Mapping[str, float] = {}
    store_commits: int = 0
    store_failures: int = 0
    store_seconds: float = 0.0
    unrouted: int = 0  # signals of streams without a route

    def to_json(self) -> dict[str, Any]:
        return self._asdict()


class PermissionInfo(NamedTuple):
    """What the caller may do now."""

    action: str  # of polkit
    permission: str  # yes, auth (with a password) or no

    def to_json(self) -> dict[str, Any]:
        return self._asdict()


class FindingInfo(NamedTuple):
    """Why a stream is forwarded or not: one of the causes."""

    code: str  # of Code, or one that a newer service has
    level: str  # of Level
    sentence: str
    remedy: str = ""  # a command to type
    evidence: Mapping[str, Any] = {}

    def to_json(self) -> dict[str, Any]:
        return self._asdict()


class PastChangeInfo(NamedTuple):
    """A change in the history of the service."""

    number: int
    time: int  # microseconds since 1970
    uid: int  # who made it
    user: str  # the name of the uid, empty where nobody knew it
    action: str  # of Act, or one that a newer service has
    added: int  # routes and memberships
    changed: int
    deleted: int
    kept: bool  # whether it can be undone, as far as nobody changes the same
    undoes: int = 0  # the number of the change that this one has undone
    undone_by: int = 0  # the number of the one that has undone it
    source: str = ""  # of the only route or membership that it is about, as the others are
    group: str = ""
    iif: str = ""  # of a route
    interface: str = ""  # of a membership
    table: int = 0
    before: str = ""  # documents in JSON, of a change that was asked for by its number
    after: str = ""

    def to_json(self) -> dict[str, Any]:
        return self._asdict()


class CauseInfo(NamedTuple):
    """Who or what has made a change."""

    cause: str  # of CauseKind, or one that a newer service has
    action: str  # of Act, or one that a newer service has
    time: int = 0  # microseconds since 1970
    uid: int | None = None  # who asked for it, if anybody did
    user: str = ""  # the name of the uid, empty where nobody knew it
    sender: str = ""  # its unique name on the bus
    pid: int = 0  # of its process, 0 where the bus did not say it
    undoes: int = 0  # the number of the change that is undone

    def to_json(self) -> dict[str, Any]:
        return self._asdict()


class RouteEvent(NamedTuple):
    """A route was added, changed or removed.

    cause: None where the signal of it was missed. before: how it was known last, None where it was
    not.
    """

    event: Literal["added", "changed", "removed"]
    route: RouteInfo
    cause: CauseInfo | None = None
    before: RouteInfo | None = None

    def to_json(self) -> dict[str, Any]:
        return _event_json(self.event, self.cause, route=self.route.to_json())


class MembershipEvent(NamedTuple):
    """A membership was added, changed or removed; cause, before: as of a RouteEvent."""

    event: Literal["membership-added", "membership-changed", "membership-removed"]
    membership: MembershipInfo
    cause: CauseInfo | None = None
    before: MembershipInfo | None = None

    def to_json(self) -> dict[str, Any]:
        return _event_json(self.event, self.cause, membership=self.membership.to_json())


def _event_json(event: str, cause: CauseInfo | None, **what: Any) -> dict[str, Any]:
    return {"event": event, **what, "cause": cause.to_json() if cause else None}


class ServiceEvent(NamedTuple):
    """The service started or stopped; events of its routes follow when it runs again."""

    running: bool
    event: Literal["service"] = "service"

    def to_json(self) -> dict[str, Any]:
        return self._asdict()


class UnroutedEvent(NamedTuple):
    """A stream arrived that no route covers."""

    source: str
    group: str
    iif: str
    table: int
    event: Literal["unrouted"] = "unrouted"

    def to_json(self) -> dict[str, Any]:
        return self._asdict()


Event = RouteEvent | MembershipEvent | ServiceEvent


class Snapshot(NamedTuple):
    """Routes and memberships, and their Generation, or one shortly before."""

    routes: list[RouteInfo]
    memberships: list[MembershipInfo]
    generation: int


def _key(source: str, group: str, iif: str, table: int) -> RouteKey:
    exact = source != ANY_SOURCE and "/" not in source + group
    return source, group, "" if exact else iif, table


def route_info(fields: Sequence[Any]) -> RouteInfo:
    """Make a RouteInfo of a route in a property or signal. Call it within `bad_reply`."""
    source, group, iif, oifs, options = fields
    return RouteInfo(source, group, iif, tuple(oifs), **_known(RouteInfo, options))


def described_route(report: "RouteReport") -> RouteInfo:
    """Make a RouteInfo of an entry in the answer of Describe."""
    values = {name: getattr(report, name) for name in RouteInfo._fields}
    return RouteInfo(**values | {"oifs": tuple(report.oifs)})


def described_membership(report: "MembershipReport") -> MembershipInfo:
    return MembershipInfo(*(getattr(report, name) for name in MembershipInfo._fields))


def unrouted_event(body: Sequence[Any]) -> UnroutedEvent:
    with bad_reply():
        source, group, iif, table = body
        return UnroutedEvent(source, group, iif, table)


def finding_info(fields: Mapping[str, Any]) -> FindingInfo:
    found = info(FindingInfo, fields)
    with bad_reply():
        evidence = {name: variant.value for name, variant in found.evidence.items()}
        return found._replace(evidence=evidence)


def info(type_: type[Info], variants: Mapping[str, Any]) -> Info:
    with bad_reply():
        return type_(**_known(type_, variants))


def _known(type_: type[Info], variants: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the fields that we know; a newer service may send more."""
    return {
        field: variant.value
        for name, variant in variants.items()
        if (field := name.replace("-", "_")) in type_._fields
    }
