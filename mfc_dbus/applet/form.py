"""The windows in which a route or a membership is made: each field says what is wrong with it."""

from collections.abc import Sequence
from typing import Any

from gi.repository import Adw, Gdk, Gtk

from mfc_dbus.applet import texts
from mfc_dbus.applet.acting import Acting
from mfc_dbus.applet.checking import membership_problems, route_problems
from mfc_dbus.applet.layout import natural
from mfc_dbus.applet.requests import add_route, join_group
from mfc_dbus.applet.state import State
from mfc_dbus.applet.translation import _
from mfc_dbus.applet.widgets import CheckBox, name, paragraph, switch_row, text_button, vertical
from mfc_dbus.names import ANY_SOURCE


class Form(Adw.Window):
    """Fields, and a button that does what they say. Subclasses say what that is."""

    title = ""
    verb = ""

    def __init__(self, parent: Gtk.Window, acting: Acting) -> None:
        super().__init__(
            transient_for=parent,
            modal=True,
            title=self.title,
            default_width=440,
            default_height=560,
        )
        self._acting = acting
        self._entries: dict[str, Adw.EntryRow] = {}
        self._problems: dict[str, Gtk.Label] = {}
        header = Adw.HeaderBar(show_end_title_buttons=False, show_start_title_buttons=False)
        header.pack_start(text_button(_("Cancel"), self.close))
        self._done = text_button(self.verb, self._do, "suggested-action")
        header.pack_end(self._done)
        self._content = vertical(
            18, margin_start=18, margin_end=18, margin_top=18, margin_bottom=18
        )
        self._failure = paragraph("", "error")
        self._failure.set_visible(False)
        self._content.append(self._failure)
        scrolled = Gtk.ScrolledWindow(
            child=Adw.Clamp(child=self._content, maximum_size=520),
            hscrollbar_policy=Gtk.PolicyType.NEVER,
            vexpand=True,
        )
        content = vertical()
        content.append(header)
        content.append(scrolled)
        self.set_content(content)
        keys = Gtk.EventControllerKey()
        keys.connect("key-pressed", self._pressed)
        self.add_controller(keys)

    def _field(self, key: str, title: str, text: str, group: Adw.PreferencesGroup) -> None:
        """Add a text field; below it is said what is wrong with it."""
        row = Adw.EntryRow(title=title, text=text)
        row.connect("changed", lambda _: self._check())
        row.connect("entry-activated", lambda _: self._do())
        problem = paragraph("", "error", "caption", "problem")
        below = Gtk.ListBoxRow(child=problem, activatable=False, selectable=False, visible=False)
        group.add(row)
        group.add(below)
        self._entries[key] = row
        self._problems[key] = problem

    def _text(self, key: str) -> str:
        return str(self._entries[key].get_text()).strip()

    def _check(self) -> None:
        """Say what is wrong, of fields in which there is something."""
        problems = self._find_problems()
        self._done.set_sensitive(not problems)
        for key, label in self._problems.items():
            said = problems.get(key, "") if self._text(key) else ""
            label.set_text(said)
            label.get_parent().set_visible(bool(said))
            (self._entries[key].add_css_class if said else self._entries[key].remove_css_class)(
                "error"
            )

    def _find_problems(self) -> dict[str, str]:
        raise NotImplementedError

    def _do(self) -> None:
        raise NotImplementedError

    def _answered(self, failure: str) -> None:
        if not failure:
            self.close()
            return
        self._failure.set_text(failure)
        self._failure.set_visible(True)
        self._done.set_sensitive(True)

    def _pressed(self, _keys: object, key: int, *_: Any) -> bool:
        if key == Gdk.KEY_Escape:
            self.close()
            return True
        return False


class RouteForm(Form):
    """Makes a route."""

    def __init__(
        self,
        parent: Gtk.Window,
        acting: Acting,
        state: State,
        source: str = "",
        group: str = "",
        iif: str = "",
    ) -> None:
        self.title, self.verb = _("Add Route"), _("Add")
        super().__init__(parent, acting)
        stream = Adw.PreferencesGroup(title=_("Stream"))
        self._field("group", _("Group, or a prefix of groups"), group, stream)
        self._field("source", _("Source (empty for any)"), source.replace(ANY_SOURCE, ""), stream)
        self._field("iif", _("Arrives on"), iif, stream)
        self._content.append(stream)
        leaving = Adw.PreferencesGroup(title=_("Leaves By"))
        names = sorted({each.name for each in state.interfaces}, key=natural)
        self._checks = {each: self._make_check(each, leaving) for each in names}
        self._field("oifs", _("Other interfaces"), "", leaving)
        self._content.append(leaving)
        more = Adw.PreferencesGroup()
        self._field("comment", _("Comment"), "", more)
        row, self._kept = switch_row(_("Keep Over a Reboot"), active=True)
        more.add(row)
        row, self._waits = switch_row(
            _("Wait for Interfaces"), _("Accept interfaces that are not there yet")
        )
        more.add(row)
        self._content.append(more)
        self._check()

    def _make_check(self, oif: str, group: Adw.PreferencesGroup) -> Gtk.CheckButton:
        check = CheckBox(valign=Gtk.Align.CENTER)
        name(check, _("Leaves by {oif}").format(oif=oif))
        check.connect("toggled", lambda _: self._check())
        row = Adw.ActionRow(title=oif, use_markup=False, activatable_widget=check)
        row.add_prefix(check)
        group.add(row)
        return check

    @property
    def _oifs(self) -> Sequence[str]:
        checked = [oif for oif, check in self._checks.items() if check.get_active()]
        typed = self._text("oifs").replace(",", " ").split()
        return [*checked, *(oif for oif in typed if oif not in checked)]

    def _find_problems(self) -> dict[str, str]:
        fields = (self._text("source"), self._text("group"), self._text("iif"))
        return route_problems(*fields, self._oifs, self._text("comment"))

    def _do(self) -> None:
        if not self._done.get_sensitive():
            return
        self._done.set_sensitive(False)
        source, group = self._text("source") or ANY_SOURCE, self._text("group")
        request = add_route(
            source,
            group,
            self._text("iif"),
            self._oifs,
            comment=self._text("comment"),
            persistent=self._kept.get_active(),
            wait=self._waits.get_active(),
        )
        told = _("Added {route}").format(route=texts.stream(source, group))
        self._acting.do(request, told, done=self._answered)


class MembershipForm(Form):
    """Joins a group."""

    def __init__(self, parent: Gtk.Window, acting: Acting) -> None:
        self.title, self.verb = _("Join Group"), _("Join")
        super().__init__(parent, acting)
        group = Adw.PreferencesGroup(
            description=_("Switches and routers send the streams of a joined group here.")
        )
        self._field("group", _("Group, or a prefix of groups"), "", group)
        self._field("source", _("Source (empty for any)"), "", group)
        self._field("interface", _("Interface"), "", group)
        self._field("comment", _("Comment"), "", group)
        row, self._kept = switch_row(_("Keep Over a Reboot"), active=True)
        group.add(row)
        self._content.append(group)
        self._check()

    def _find_problems(self) -> dict[str, str]:
        names = ("source", "group", "interface", "comment")
        return membership_problems(*map(self._text, names))

    def _do(self) -> None:
        if not self._done.get_sensitive():
            return
        self._done.set_sensitive(False)
        source, group = self._text("source") or ANY_SOURCE, self._text("group")
        said: dict[str, Any] = {}
        if comment := self._text("comment"):
            said["comment"] = comment
        if not self._kept.get_active():
            said["persistent"] = False
        request = join_group(group, source, self._text("interface"), **said)
        told = _("Joined {group}").format(group=texts.stream(source, group))
        self._acting.do(request, told, done=self._answered)
