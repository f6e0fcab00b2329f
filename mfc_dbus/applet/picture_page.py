"""The page with the picture: below it the VIFs that are used, and how many streams are left out."""

from collections import Counter
from collections.abc import Callable

from gi.repository import Adw, Gtk

from mfc_dbus.applet import texts, tooltips
from mfc_dbus.applet.drawing import Key, candidates
from mfc_dbus.applet.layout import choose
from mfc_dbus.applet.picture import Picture
from mfc_dbus.applet.state import State
from mfc_dbus.applet.translation import _, ngettext
from mfc_dbus.model.route import MAX_VIFS


class PicturePage(Gtk.Box):
    """Shows the state as it is when it is told to refresh, if it can be seen."""

    def __init__(self, state: State, chosen: Callable[[Key | None], None]) -> None:
        super().__init__(orientation=Gtk.Orientation.VERTICAL)
        self._state = state
        self.picture = Picture(chosen, lambda key: tooltips.markup(state, key))
        self._stack = Gtk.Stack(vexpand=True)
        scrolled = Gtk.ScrolledWindow(
            child=self.picture, hscrollbar_policy=Gtk.PolicyType.NEVER, vexpand=True
        )
        self._stack.add_named(scrolled, "picture")
        empty = Adw.StatusPage(
            icon_name="network-workgroup-symbolic",
            title=_("Nothing to See Yet"),
            description=_("Streams are drawn here as soon as there is a route."),
        )
        self._stack.add_named(empty, "empty")
        self.append(self._stack)
        line = Gtk.Box(spacing=18, css_classes=["status-line"])
        self._vifs = Gtk.Label(xalign=0, css_classes=["caption", "dim-label", "numeric"])
        self._more = Gtk.Label(
            xalign=1, hexpand=True, css_classes=["caption", "dim-label"], wrap=True
        )
        line.append(self._vifs)
        line.append(self._more)
        self.append(line)
        self.connect("map", lambda _: self.refresh())

    def select(self, key: Key | None) -> None:
        self.picture.select(key)

    def set_grey(self, is_grey: bool) -> None:
        self.picture.set_grey(is_grey)

    def refresh(self) -> None:
        if not self.get_mapped():
            return
        drawn, left_out = choose(candidates(self._state))
        left_out += self._state.more_streams
        self._stack.set_visible_child_name("picture" if drawn else "empty")
        self.picture.show_bands(drawn, left_out, self._interfaces())
        self._vifs.set_text(self._used())
        more = ngettext(
            "and {count} more, that is quieter", "and {count} more, that are quieter", left_out
        )
        self._more.set_text(more.format(count=texts.count(left_out)) if left_out else "")

    def _interfaces(self) -> dict[str, str]:
        """Say what there is to say of an interface: that it is missing, or its VIFs."""
        said: dict[str, str] = {}
        for each in self._state.interfaces:
            if each.state != "active":
                said[each.name] = texts.state(each.state)
            else:
                said.setdefault(each.name, _("VIF {number}").format(number=each.vif))
        return said

    def _used(self) -> str:
        """Say how many VIFs of each table are used."""
        used = Counter(
            (each.family, each.table) for each in self._state.interfaces if each.state != "missing"
        )
        parts = []
        for (family, table), number in sorted(used.items()):
            known = {"ipv4": "IPv4", "ipv6": "IPv6"}.get(family, family)
            where = f"{known}/{table}" if table else known
            parts.append(
                _("{table}: {used} of {most} VIFs").format(table=where, used=number, most=MAX_VIFS)
            )
        return "   ".join(parts)
