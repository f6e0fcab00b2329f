"""The pane beside the pages: all of what is chosen, and what can be done with it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gi.repository import Adw, Gtk

from mfc_dbus.applet import texts
from mfc_dbus.applet.acting import Acting
from mfc_dbus.applet.explaining import Explaining
from mfc_dbus.applet.layout import natural
from mfc_dbus.applet.requests import delete_route
from mfc_dbus.applet.service import Service
from mfc_dbus.applet.sparkline import Sparkline
from mfc_dbus.applet.state import stream_key, stream_of
from mfc_dbus.applet.translation import _
from mfc_dbus.applet.widgets import (
    CheckBox,
    clear,
    fact,
    focus_again,
    focus_within,
    name,
    paragraph,
    switch_row,
    text_button,
    vertical,
)
from mfc_dbus.client.info import (
    InterfaceInfo,
    MembershipInfo,
    RouteInfo,
    StreamInfo,
    UnroutedEvent,
)
from mfc_dbus.model.interfaces import is_pattern
from mfc_dbus.model.members import Action

Value = RouteInfo | StreamInfo | MembershipInfo | InterfaceInfo | UnroutedEvent


class Details(Gtk.Box):
    """Shows one value at a time.

    add: called with the source, group and iif of a stream for which a route is to be made.
    """

    def __init__(
        self,
        service: Service,
        acting: Acting,
        add: Callable[[str, str, str], None],
        closed: Callable[[], None],
    ) -> None:
        super().__init__(
            orientation=Gtk.Orientation.VERTICAL, css_classes=["details"], hexpand=False
        )
        self._service = service
        self._acting = acting
        self._add = add
        self._value: Value | None = None
        self._acts: list[tuple[Gtk.Widget, Action]] = []
        self._flow: Callable[[], None] | None = None
        self._explaining: Explaining | None = None
        self._granted: RouteInfo | None = None  # that the user may change, if not all others
        header = Gtk.Box(spacing=6, margin_start=18, margin_end=12, margin_top=12)
        self._title = Gtk.Label(
            xalign=0, hexpand=True, wrap=True, css_classes=["title-3"], selectable=False
        )
        header.append(self._title)
        close = Gtk.Button(
            icon_name="window-close-symbolic", valign=Gtk.Align.START, css_classes=["flat"]
        )
        close.connect("clicked", lambda _: closed())
        name(close, _("Close the details"))
        header.append(close)
        self.append(header)
        self._content = vertical(18, margin_start=18, margin_end=18, margin_top=6, margin_bottom=18)
        self._scrolled = Gtk.ScrolledWindow(
            child=self._content, hscrollbar_policy=Gtk.PolicyType.NEVER, vexpand=True
        )
        self.append(self._scrolled)
        name(self, _("Details"))

    def show_value(self, value: Value | None) -> None:
        """Show another value, or what has become of it. None: it is gone."""
        is_same = value == self._value
        is_known = _name(value) == _name(self._value)
        self._value = value
        if is_same:
            self.refresh()
            return
        focus, top = focus_within(self._content), self._scrolled.get_vadjustment().get_value()
        clear(self._content)
        self._acts.clear()
        self._flow = None
        self._explaining = None
        self._granted = None
        makers: Mapping[type, Callable[[Any], None]] = {
            RouteInfo: self._show_route,
            StreamInfo: self._show_stream,
            MembershipInfo: self._show_membership,
            InterfaceInfo: self._show_interface,
            UnroutedEvent: self._show_unrouted,
        }
        if value is not None:
            makers[type(value)](value)
        self.refresh()
        if is_known and focus is not None:  # it is the same thing, that has changed
            focus_again(self._content, focus)
        self._scrolled.get_vadjustment().set_value(top if is_known else 0.0)

    def explain(self, source: str, group: str, iif: str) -> None:
        """Ask why a stream is forwarded or not, below what is shown or instead of it."""
        if self._explaining is None:
            self.show_value(None)
            self._title.set_text(texts.stream(source, group))
            self._show_explain(source, group, iif)
        if self._explaining is not None:
            self._explaining.ask()

    def refresh(self) -> None:
        """Show the rates of now, and what the user may do."""
        if self._flow is not None:
            self._flow()
        for widget, action in self._acts:
            is_granted = self._granted is not None and self._service.available
            widget.set_sensitive(is_granted or self._acting.may(action))

    def _show_route(self, route: RouteInfo) -> None:
        self._title.set_text(texts.stream(route.source, route.group))
        self._badge(texts.state(route.state), texts.tone(route.state))
        if route.reason:
            self._content.append(paragraph(route.reason, "warning"))
        if route.comment:
            self._content.append(paragraph(route.comment))
        self._show_flow(lambda: self._stream_of(route))
        self._show_explain(route.source, route.group, route.iif)
        self._show_oifs(route)
        self._show_switch(route)
        facts = [(_("Arrives on"), route.iif)]
        if route.ttls:
            told = ", ".join(f"{oif} > {ttl}" for oif, ttl in route.ttls.items())
            facts.append((_("TTL thresholds"), told))
        if route.table:
            facts.append((_("Table"), str(route.table)))
        kept = _("yes") if route.persistent and not route.expires else _("no")
        facts.append((_("Kept over a reboot"), kept))
        if route.origin == "config":
            facts.append((_("Comes from"), "/etc/mfc-dbus/routes.d"))
        self._facts(facts)
        self._show_delete(route)
        if not self._acting.may():
            self._acting.check(delete_route(route), lambda: self._grant(route))

    def _grant(self, route: RouteInfo) -> None:
        """Let the user change the route that is shown, for which a rule of polkit may be made."""
        if route == self._value:
            self._granted = route
            self.refresh()

    def _show_oifs(self, route: RouteInfo) -> None:
        """A check box for each interface by which it leaves, or could."""
        group = Adw.PreferencesGroup(title=_("Leaves By"))
        others = {each.name for each in self._service.state.interfaces}
        names = sorted({*route.oifs, *(others - {route.iif})}, key=natural)
        for oif in names:
            check = CheckBox(active=oif in route.oifs, valign=Gtk.Align.CENTER)
            name(check, _("Leaves by {oif}").format(oif=oif))
            check.connect("toggled", self._toggled, route, oif)
            row = Adw.ActionRow(title=oif, use_markup=False, activatable_widget=check)
            row.add_prefix(check)
            group.add(row)
            self._may(row, route)
        entry = Adw.EntryRow(title=_("Another interface"), show_apply_button=True)
        entry.connect("apply", lambda _: self._acting.set_oif(route, entry.get_text(), leaves=True))
        group.add(entry)
        self._may(entry, route)
        self._content.append(group)

    def _toggled(self, check: Gtk.CheckButton, route: RouteInfo, oif: str) -> None:
        current = self._service.state.routes.get(route.key)
        if current is None or check.get_active() == (oif in current.oifs):
            return
        self._acting.set_oif(
            route,
            oif,
            leaves=check.get_active(),
            failed=lambda: check.set_active(oif in route.oifs),
        )

    def _show_switch(self, route: RouteInfo) -> None:
        group = Adw.PreferencesGroup()
        row, switch = switch_row(
            _("Switched On"), _("Off, it is kept as if it were not there"), active=route.enabled
        )
        switch.connect("notify::active", self._switched, route)
        group.add(row)
        self._may(row, route)
        self._content.append(group)

    def _show_delete(self, route: RouteInfo) -> None:
        delete = text_button(
            _("Delete Route"), lambda: self._acting.delete(route), "destructive-action"
        )
        delete.set_halign(Gtk.Align.START)
        self._may(delete, route)
        self._content.append(delete)

    def _switched(self, switch: Gtk.Switch, _property: object, route: RouteInfo) -> None:
        current = self._service.state.routes.get(route.key)
        if current is not None and switch.get_active() != current.enabled:
            self._acting.enable(
                route,
                enabled=switch.get_active(),
                failed=lambda: switch.set_active(route.enabled),
            )

    def _may(self, widget: Gtk.Widget, route: RouteInfo) -> None:
        """Let a widget act while the user may change the route. Those of files nobody can."""
        if route.origin == "config":
            widget.set_sensitive(False)
        else:
            self._acts.append((widget, Action.MANAGE_ROUTES))

    def _stream_of(self, route: RouteInfo) -> StreamInfo | None:
        return stream_of(self._service.state, route)

    def _show_stream(self, told: StreamInfo) -> None:
        self._title.set_text(texts.stream(told.source, told.group))
        key = stream_key(told)
        self._show_flow(lambda: self._service.state.streams.get(key))
        route = self._service.state.routes.get(told.route_key)
        self._show_explain(told.source, told.group, told.iif)
        facts = [(_("Arrives on"), told.iif), (_("Leaves by"), ", ".join(told.oifs) or "–")]
        if route is not None:
            facts.append((_("By the route"), texts.describe_route(route)))
        self._facts(facts)

    def _show_flow(self, find: Callable[[], StreamInfo | None]) -> None:
        """Show the rate, its curve and the counters, live."""
        rate = Gtk.Label(xalign=0, css_classes=["title-2", "numeric"])
        packets = Gtk.Label(xalign=0, css_classes=["dim-label", "numeric"])
        curve = Sparkline(280, 56, hexpand=True)
        counters = vertical(6)
        box = vertical(6)
        for widget in (rate, packets, curve, counters):
            box.append(widget)
        self._content.append(box)
        labels = {
            title: Gtk.Label(xalign=1, hexpand=True, css_classes=["numeric"])
            for title in (_("Packets"), _("Bytes"), _("By a wrong interface"))
        }
        for title, label in labels.items():
            line = Gtk.Box(spacing=12)
            line.append(Gtk.Label(label=title, css_classes=["dim-label"]))
            line.append(label)
            counters.append(line)

        def show() -> None:
            told = find()
            box.set_visible(told is not None)
            if told is None:
                return
            rate.set_text(texts.flow(told))
            packets.set_text(texts.packets_rate(told.packets_per_second))
            curve.show_rates(self._service.state.rates.get(stream_key(told)))
            values = (texts.count(told.packets), texts.size(told.bytes), texts.count(told.wrong_if))
            for label, value in zip(labels.values(), values, strict=True):
                label.set_text(value)

        self._flow = show

    def _show_membership(self, membership: MembershipInfo) -> None:
        self._title.set_text(texts.stream(membership.source, membership.group))
        self._badge(texts.state(membership.state), texts.tone(membership.state))
        for text in filter(None, (membership.reason, membership.comment)):
            self._content.append(paragraph(text))
        kept = _("yes") if membership.persistent else _("no")
        self._facts([(_("Joined on"), membership.interface), (_("Kept over a reboot"), kept)])
        leave = text_button(
            _("Leave Group"), lambda: self._acting.leave(membership), "destructive-action"
        )
        if membership.origin == "config":
            leave.set_sensitive(False)
        else:
            self._acts.append((leave, Action.MANAGE_MEMBERSHIPS))
        self._content.append(leave)

    def _show_interface(self, interface: InterfaceInfo) -> None:
        self._title.set_text(interface.name)
        self._badge(texts.state(interface.state), texts.tone(interface.state))
        self._facts(
            [
                (_("Family"), {"ipv4": "IPv4", "ipv6": "IPv6"}[interface.family]),
                (_("VIF"), str(interface.vif)),
                (_("Interface index"), str(interface.ifindex)),
                (_("Used by routes"), texts.count(interface.references)),
                (_("Packets in"), texts.count(interface.packets_in)),
                (_("Packets out"), texts.count(interface.packets_out)),
                (_("Bytes in"), texts.size(interface.bytes_in)),
                (_("Bytes out"), texts.size(interface.bytes_out)),
            ]
        )

    def _show_unrouted(self, stream: UnroutedEvent) -> None:
        self._title.set_text(texts.stream(stream.source, stream.group))
        self._badge(_("Unrouted"), "warning")
        text = _("It arrives on {iif}, and no route covers it.").format(iif=stream.iif)
        self._content.append(paragraph(text))
        route = text_button(
            _("Route It…"),
            lambda: self._add(stream.source, stream.group, stream.iif),
            "suggested-action",
        )
        self._acts.append((route, Action.MANAGE_ROUTES))
        self._content.append(route)
        self._show_explain(stream.source, stream.group, stream.iif)

    def _show_explain(self, source: str, group: str, iif: str) -> None:
        if "/" in source + group or is_pattern(iif):
            return  # only single streams are explained
        self._explaining = Explaining(self._acting, self._add, source, group, iif)
        self._content.append(self._explaining)

    def _badge(self, text: str, tone: str) -> None:
        label = Gtk.Label(label=text, halign=Gtk.Align.START, css_classes=["badge", tone])
        self._content.append(label)

    def _facts(self, facts: Sequence[tuple[str, str]]) -> None:
        box = vertical(6)
        for title, value in facts:
            box.append(fact(title, value))
        self._content.append(box)


def _name(value: Value | None) -> tuple[str, ...] | None:
    """Return what tells a value from others, whatever else changes of it."""
    if isinstance(value, InterfaceInfo):
        return value.family, value.name
    return (type(value).__name__, value.source, value.group) if value is not None else None
