"""A page with a list: search, order, and the rows."""

import time
from collections.abc import Callable
from typing import Any

from gi.repository import Adw, GLib, Gtk

from mfc_dbus.applet.drawing import Key
from mfc_dbus.applet.listing import Kind
from mfc_dbus.applet.rows import Item, Rows, RowView
from mfc_dbus.applet.state import State
from mfc_dbus.applet.translation import _
from mfc_dbus.applet.widgets import name

_LATER = 500  # milliseconds in which many changes become one
_RESTING = 4  # times as long as it took to show very many
_MANY = 50  # changes that are not made one by one


class ListPage(Gtk.Box):
    """The list of one kind. chosen: told what the user chooses."""

    def __init__(
        self,
        kind: Kind[Any],
        state: State,
        chosen: Callable[[Key, Any], None],
        add: Gtk.Widget | None = None,
    ) -> None:
        super().__init__(orientation=Gtk.Orientation.VERTICAL)
        self._kind = kind
        self._state = state
        self._chosen = chosen
        self._later = 0
        self._rest = _LATER
        self._narrow = False
        self._views: set[RowView] = set()
        self._is_telling = False
        self._key: Key | None = None
        self.rows = Rows(kind)
        self.search = Gtk.SearchEntry(
            hexpand=True, placeholder_text=_("Address, interface or comment")
        )
        name(self.search, _("Search {list}").format(list=kind.title))
        self.search.connect("search-changed", self._searched)
        self._sort = Gtk.DropDown.new_from_strings([sort.name for sort in kind.sorts])
        name(self._sort, _("Order"))
        self._sort.connect("notify::selected", self._sorted)
        self._count = Gtk.Label(css_classes=["dim-label", "caption", "numeric"])
        bar = Gtk.Box(spacing=8, margin_start=12, margin_end=12, margin_top=8, margin_bottom=8)
        for widget in (self.search, self._count, self._sort, *([add] if add else [])):
            bar.append(widget)
        self.append(bar)
        self._stack = Gtk.Stack(vexpand=True)
        self._stack.add_named(self._make_list(), "list")
        self._empty = Adw.StatusPage(
            icon_name=kind.icon, title=kind.empty, description=kind.hint, css_classes=["compact"]
        )
        self._stack.add_named(self._empty, "empty")
        self.append(self._stack)
        self._is_stale = True
        self.connect("map", lambda _: self.refill())

    def refill(self) -> bool:
        """Show what the state has now, as soon as the page is seen."""
        self._later = 0
        self._is_stale = not self.get_mapped()
        if not self._is_stale:
            begin = time.monotonic()
            self._quietly(lambda: self.rows.refill(self._kind.values(self._state)))
            self._rest = max(_LATER, _RESTING * int(1000 * (time.monotonic() - begin)))
        return GLib.SOURCE_REMOVE

    def refill_later(self) -> None:
        """Do so soon, once for all that changes until then."""
        if not self._later:
            self._later = GLib.timeout_add(self._rest, self.refill)

    def update(self, put: list[Any], dropped: list[Any]) -> None:
        """Show what has changed."""
        if self._is_stale or self._later or len(put) + len(dropped) > _MANY:
            self.refill_later()
        else:
            self._quietly(lambda: self.rows.update(put, dropped))

    def refresh(self) -> None:
        """Show the rates of what is seen."""
        if not self.get_mapped():
            return
        if self._is_stale or self.rows.listing.sort.is_live:
            self.refill()
        else:
            self.rows.refresh()

    def select(self, key: Key | None) -> None:
        """Mark what was chosen somewhere, if it is in this list."""
        place = self.rows.place(key) if key is not None else -1
        self._is_telling = True
        self._selection.set_selected(place if place >= 0 else Gtk.INVALID_LIST_POSITION)
        self._is_telling = False
        self._key = key

    def set_narrow(self, narrow: bool) -> None:
        self._narrow = narrow
        for view in self._views:
            view.set_narrow(narrow)

    def _make_list(self) -> Gtk.Widget:
        self._selection: Gtk.SingleSelection = Gtk.SingleSelection(
            model=self.rows, autoselect=False, can_unselect=True
        )
        self._selection.set_selected(Gtk.INVALID_LIST_POSITION)
        self._selection.connect("selection-changed", self._selected)
        factory = Gtk.SignalListItemFactory()
        factory.connect("setup", self._set_up)
        factory.connect("bind", lambda _, each: each.get_child().bind(each.get_item()))
        factory.connect("unbind", lambda _, each: each.get_child().unbind())
        view = Gtk.ListView(
            model=self._selection, factory=factory, css_classes=["rows", "navigation-sidebar"]
        )
        name(view, self._kind.title)
        return Gtk.ScrolledWindow(child=view, hscrollbar_policy=Gtk.PolicyType.NEVER)

    def _set_up(self, _factory: object, each: Gtk.ListItem) -> None:
        view = RowView(self._kind, self._state, self._tell)
        view.set_narrow(self._narrow)
        self._views.add(view)
        each.set_child(view)

    def _selected(self, *_: object) -> None:
        item = self._selection.get_selected_item()
        if not self._is_telling and isinstance(item, Item):
            self._tell(item)

    def _tell(self, item: Item) -> None:
        self._key = item.key
        self._chosen(item.key, item.value)

    def _quietly(self, change: Callable[[], None]) -> None:
        """Change the rows, and keep what is chosen."""
        self._is_telling = True
        change()
        self._is_telling = False
        shown = len(self.rows.listing.keys)
        self._count.set_text(f"{shown:,}".replace(",", "\u202f") if shown else "")
        if shown:
            self.select(self._key)
        is_searched = bool(self.rows.listing.text)
        self._empty.set_title(_("Nothing Found") if is_searched else self._kind.empty)
        self._empty.set_description(
            _("Try another address, interface or comment.") if is_searched else self._kind.hint
        )
        self._stack.set_visible_child_name("list" if shown else "empty")

    def _searched(self, entry: Gtk.SearchEntry) -> None:
        self.rows.listing.text = entry.get_text().strip()
        self.refill()

    def _sorted(self, drop_down: Gtk.DropDown, _property: object) -> None:
        self.rows.listing.sort = self._kind.sorts[drop_down.get_selected()]
        self.refill()
