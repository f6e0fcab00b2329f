"""What the client tells: routes, memberships, events and more as values, and its error (pure)."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from mfc_dbus.documents.document import RouteReport

ANY_SOURCE = "*"

RouteKey = tuple[str, str, str, int]
Info = TypeVar("Info", "InterfaceInfo", "TableInfo", "MembershipInfo", "LearnedInfo")


class ClientError(Exception):
    """A call that failed; the text is a sentence.

    name: the error's name on the bus, without the prefix of the service ("RouteExists") or of
    D-Bus ("AccessDenied"). Made here: Timeout, NoServer (there is no bus, or it refused us),
    Disconnected (the bus has gone), BadReply (the service is not the one that we know).
    """

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True, slots=True)
class _Value:
    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True)
class RouteInfo(_Value):
    """A route as the service tells it."""

    source: str  # or a prefix; "*" for any source
    group: str  # or a prefix
    iif: str
    oifs: tuple[str, ...]
    state: str  # active, partial, waiting, unavailable
    ttls: Mapping[str, int] = field(default_factory=dict, hash=False)  # where not the default
    comment: str = ""
    persistent: bool = True  # kept over a reboot
    expires: int = 0  # microseconds on the boot-time clock; 0: never
    origin: str = "bus"  # "config": from /etc/mfc-dbus/routes.d
    table: int = 0  # number; 0: the default one
    reason: str = ""  # why it is not active
    hairpin: bool = False  # whether streams leave by the interface that they arrive on too

    @property
    def key(self) -> RouteKey:
        """What makes it another route: of more than one stream there may be one for each iif."""
        exact = self.source != ANY_SOURCE and "/" not in self.source + self.group
        return self.source, self.group, "" if exact else self.iif, self.table


@dataclass(frozen=True, slots=True)
class InterfaceInfo(_Value):
    """An interface that routes use."""

    name: str
    family: str  # ipv4, ipv6
    vif: int
    ifindex: int
    references: int
    state: str
    packets_in: int = 0  # and so where the interface is missing
    packets_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    table: int = 0  # number; 0: the default one


@dataclass(frozen=True, slots=True)
class TableInfo(_Value):
    """A multicast routing table of the kernel."""

    family: str  # ipv4, ipv6
    table: int
    state: str  # active, unavailable
    routes: int
    interfaces: int
    reason: str = ""  # why it is unavailable


@dataclass(frozen=True, slots=True)
class MembershipInfo(_Value):
    """A group that is joined on an interface."""

    source: str  # "*" for any source
    group: str
    interface: str
    state: str  # joined, waiting, failed
    reason: str = ""  # why it failed
    comment: str = ""
    persistent: bool = True  # kept over a reboot
    origin: str = "bus"  # "config": from /etc/mfc-dbus/routes.d


@dataclass(frozen=True, slots=True)
class LearnedInfo(_Value):
    """A stream of a route that is wider than an entry of the kernel."""

    source: str
    group: str
    iif: str
    oifs: tuple[str, ...]
    route_source: str
    route_group: str
    route_iif: str
    packets: int = 0
    bytes: int = 0
    table: int = 0  # number; 0: the default one


@dataclass(frozen=True, slots=True)
class RouteEvent(_Value):
    """A route came, is another now, or went."""

    event: Literal["added", "changed", "removed"]
    route: RouteInfo


@dataclass(frozen=True, slots=True)
class ServiceEvent(_Value):
    """The service came or went; what that did to its routes is told when it is back."""

    event: Literal["service"] = field(default="service", init=False)
    running: bool


@dataclass(frozen=True, slots=True)
class UnroutedEvent(_Value):
    """A stream arrived that no route covers."""

    event: Literal["unrouted"] = field(default="unrouted", init=False)
    source: str
    group: str
    iif: str
    table: int


Event = RouteEvent | ServiceEvent


def route_info(fields: Sequence[Any]) -> RouteInfo:
    with bad_reply():
        source, group, iif, oifs, variants = fields
        options = {name: variant.value for name, variant in variants.items()}
        return RouteInfo(
            source,
            group,
            iif,
            tuple(oifs),
            options["state"],
            options.get("ttls", {}),
            options.get("comment", ""),
            options.get("persistent", True),
            options.get("expires", 0),
            options.get("origin", "bus"),
            options.get("table", 0),
            options.get("reason", ""),
            options.get("hairpin", False),
        )


def described_route(report: "RouteReport") -> RouteInfo:
    """Make it of what Describe tells."""
    return RouteInfo(
        report.source or ANY_SOURCE,
        report.group,
        report.iif,
        tuple(report.oifs),
        report.state,
        report.ttls,
        report.comment,
        report.persistent,
        report.expires,
        report.origin,
        report.table,
        report.reason,
        report.hairpin,
    )


def unrouted_event(body: Sequence[Any]) -> UnroutedEvent:
    with bad_reply():
        source, group, iif, table = body
        return UnroutedEvent(source, group, iif, table)


def info(type_: type[Info], variants: Mapping[str, Any]) -> Info:
    """Take what we know of what the service tells; a newer one may tell more."""
    with bad_reply():
        values = {name.replace("-", "_"): variant.value for name, variant in variants.items()}
        known = {item.name for item in dataclasses.fields(type_)}
        return type_(**{name: value for name, value in values.items() if name in known})


@contextlib.contextmanager
def bad_reply() -> Iterator[None]:
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        sentence = "The service says what this program does not understand: is it another version?"
        raise ClientError("BadReply", sentence) from error
