"""How values are written for people: rates, spans, streams, routes (pure)."""

from collections.abc import Sequence

from mfc_dbus.applet.translation import _
from mfc_dbus.client.info import RouteInfo, StreamInfo
from mfc_dbus.names import ANY_SOURCE

_UNITS = ("", "k", "M", "G", "T")


def rate(bits: float | None) -> str:
    """Write a rate with its unit, in three digits: "4.20 Mbit/s"."""
    return _scaled(bits, "bit/s")


def packets_rate(packets: float | None) -> str:
    return _("{count} packets/s").format(count=_scaled(packets, "").rstrip())


def size(number: int | None) -> str:
    return _scaled(number, "B")


def _scaled(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    scale = 0
    while value >= 999.5 and scale < len(_UNITS) - 1:
        value /= 1000
        scale += 1
    if scale == 0:
        digits = 0 if value >= 10 or value == int(value) else 1
    else:
        digits = 0 if value >= 99.5 else 1 if value >= 9.95 else 2
    return f"{value:.{digits}f} {_UNITS[scale]}{unit}"


def count(number: int | None) -> str:
    """Write a number in groups of three digits, with narrow spaces."""
    return "–" if number is None else f"{number:,}".replace(",", "\u202f")


def span(seconds: float) -> str:
    if seconds < 60:
        return _("{count} s").format(count=int(seconds))
    if seconds < 3600:
        return _("{count} min").format(count=int(seconds // 60))
    return _("{count} h").format(count=int(seconds // 3600))


def sender(source: str) -> str:
    return _("any source") if source == ANY_SOURCE else source


def stream(source: str, group: str) -> str:
    """Name a stream or what a route is for: "239.1.1.1 from 10.0.1.10"."""
    return _("{group} from {source}").format(group=group, source=sender(source))


def way(iif: str, oifs: Sequence[str]) -> str:
    """Write where a stream arrives and leaves: "eth1 → eth2, eth3"."""
    return f"{iif} → {', '.join(oifs) if oifs else _('stopped')}"


def describe_route(route: RouteInfo) -> str:
    return f"{stream(route.source, route.group)}, {way(route.iif, route.oifs)}"


def flow(told: StreamInfo) -> str:
    """Say in a few words how fast a stream is, or since when it is silent."""
    if told.idle is not None and told.idle >= 2:
        return _("idle for {span}").format(span=span(told.idle))
    if told.bits_per_second is None:
        return _("no rate yet") if told.packets is not None else _("not counted")
    if not told.bits_per_second:
        return _("nothing arrives")
    return rate(told.bits_per_second)


STATES = {
    "active": lambda: _("Active"),
    "partial": lambda: _("Partial"),
    "waiting": lambda: _("Waiting"),
    "unavailable": lambda: _("Unavailable"),
    "disabled": lambda: _("Switched off"),
    "joined": lambda: _("Joined"),
    "failed": lambda: _("Failed"),
    "down": lambda: _("Down"),
    "missing": lambda: _("Missing"),
}


def state(name: str) -> str:
    """Name a state; one that a newer service has is named as it is."""
    return STATES[name]() if name in STATES else name


def tone(name: str) -> str:
    """Return the style of a state: "success", "warning", "error" or "dim-label"."""
    if name in ("active", "joined"):
        return "success"
    if name == "disabled":
        return "dim-label"
    return "error" if name in ("unavailable", "failed") else "warning"
