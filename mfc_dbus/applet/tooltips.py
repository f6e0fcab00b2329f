"""What is said of a band that is pointed to (pure)."""

from xml.sax.saxutils import escape

from mfc_dbus.applet import texts
from mfc_dbus.applet.drawing import ROUTE, STREAM, UNROUTED, Key
from mfc_dbus.applet.state import State
from mfc_dbus.applet.translation import _
from mfc_dbus.client.info import RouteInfo, StreamInfo, UnroutedEvent


def find(state: State, key: Key) -> RouteInfo | StreamInfo | UnroutedEvent | None:
    """Return what a band stands for, None where it is gone."""
    kind, source, group, iif, table = key
    if kind == ROUTE:
        return state.routes.get((source, group, iif, int(table)))
    if kind == STREAM:
        return state.streams.get((source, group, iif, int(table)))
    if kind == UNROUTED:
        stream = UnroutedEvent(source, group, iif, int(table))
        return stream if stream in state.unrouted else None
    return None


def markup(state: State, key: Key) -> str:
    """Return names, rates, counters and comment, in the markup of Pango."""
    value = find(state, key)
    if value is None:
        return ""
    lines = [f"<b>{escape(texts.stream(value.source, value.group))}</b>"]
    if isinstance(value, UnroutedEvent):
        where = _("arrives on {iif}, and no route covers it").format(iif=value.iif)
        return "\n".join([*lines, escape(where)])
    lines.append(escape(texts.way(value.iif, value.oifs)))
    told: RouteInfo | StreamInfo | None = value
    if isinstance(value, RouteInfo):
        if value.state != "active":
            lines.append(escape(value.reason or texts.state(value.state)))
        told = state.streams.get((value.source, value.group, value.iif, value.table))
    if isinstance(told, StreamInfo):
        packets = texts.packets_rate(told.packets_per_second)
        lines.append(f"{texts.flow(told)}, {packets}")
        counters = _("{packets} packets, {bytes} so far").format(
            packets=texts.count(told.packets), bytes=texts.size(told.bytes)
        )
        lines.append(counters)
        if told.learned:
            route = texts.stream(told.route_source, told.route_group)
            lines.append(escape(_("of the route {route}").format(route=route)))
    if value.comment:
        lines.append(f"<i>{escape(value.comment)}</i>")
    return "\n".join(lines)
