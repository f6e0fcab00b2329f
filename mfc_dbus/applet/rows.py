"""The list model behind a list, and the widget of one row of it.

The model makes an Item of a value when a row of it is to be seen: 100,000 routes are as many values
and some tens of Items and widgets.
"""

from collections.abc import Callable, Iterable
from typing import Any
from weakref import WeakValueDictionary

from gi.repository import Gio, GObject, Gtk, Pango

from mfc_dbus.applet.drawing import Key
from mfc_dbus.applet.listing import Kind, Listing, Row
from mfc_dbus.applet.sparkline import Sparkline
from mfc_dbus.applet.state import State
from mfc_dbus.applet.widgets import name


class Item(GObject.Object):
    """A value that can be seen. changed: it is another one, with the same key."""

    __gsignals__ = {"changed": (GObject.SignalFlags.RUN_FIRST, None, ())}  # noqa: RUF012

    def __init__(self, key: Key, value: Any) -> None:
        super().__init__()
        self.key = key
        self.value = value


class Rows(GObject.Object, Gio.ListModel):
    """A Listing as GTK wants it."""

    def __init__(self, kind: Kind[Any]) -> None:
        super().__init__()
        self.listing = Listing(kind)
        self._kind = kind
        self._items: WeakValueDictionary[Key, Item] = WeakValueDictionary()

    def do_get_item_type(self) -> GObject.GType:
        return Item.__gtype__

    def do_get_n_items(self) -> int:
        return len(self.listing.keys)

    def do_get_item(self, position: int) -> Item | None:
        if position >= len(self.listing.keys):
            return None
        key = self.listing.keys[position]
        item = self._items.get(key)
        if item is None:
            item = self._items[key] = Item(key, self.listing.values[key])
        return item

    def refill(self, values: Iterable[Any]) -> None:
        """Show these values, those that pass the search."""
        self._tell(self.listing.refill(values))
        self.refresh()

    def update(self, put: Iterable[Any], dropped: Iterable[Any]) -> None:
        """Show some values more or anew, and others no longer."""
        for each in dropped:
            self._tell(self.listing.drop(each))
        for each in put:
            self._tell(self.listing.put(each))
        self.refresh()

    def refresh(self) -> None:
        """Have all that is seen drawn with its value of now."""
        for key, item in list(self._items.items()):
            value = self.listing.values.get(key)
            if value is not None:
                item.value = value
                item.emit("changed")

    def place(self, key: Key) -> int:
        """Return where a value is, -1 where it is not."""
        return self.listing.keys.index(key) if key in self.listing.values else -1

    def _tell(self, change: tuple[int, int, int] | None) -> None:
        if change is not None and change[1:] != (0, 0):
            self.items_changed(*change)


class RowView(Gtk.Box):
    """A row: title and subtitle, and at its end a curve, a number and a badge."""

    def __init__(self, kind: Kind[Any], state: State, chosen: Callable[[Item], None]) -> None:
        """chosen: told the item, where the row is chosen by AT-SPI, which knows no list items."""
        super().__init__(spacing=12, css_classes=["row-view"])
        self._chosen = chosen
        self._kind = kind
        self._state = state
        self._item: Item | None = None
        self._handler = 0
        self._narrow = False
        self._tone = ""
        self._spoken: tuple[str, ...] = ()
        self._title = _label(css_classes=["heading"])
        self._subtitle = _label(css_classes=["caption", "dim-label"])
        texts = Gtk.Box(
            orientation=Gtk.Orientation.VERTICAL, hexpand=True, valign=Gtk.Align.CENTER, spacing=2
        )
        texts.append(self._title)
        texts.append(self._subtitle)
        self._curve = Sparkline(valign=Gtk.Align.CENTER)
        self._number = Gtk.Label(xalign=1, css_classes=["numeric", "caption"], width_chars=11)
        self._badge = Gtk.Label(css_classes=["badge"], valign=Gtk.Align.CENTER)
        for widget in (texts, self._curve, self._number, self._badge):
            self.append(widget)

    def bind(self, item: Item) -> None:
        self._item = item
        self._handler = item.connect("changed", lambda _: self._show())
        self._show()

    def unbind(self) -> None:
        if self._item is not None:
            self._item.disconnect(self._handler)
        self._item = None

    def set_narrow(self, narrow: bool) -> None:
        """Leave out what there is no room for: the curve, and that all is well."""
        self._narrow = narrow
        self._number.set_width_chars(-1 if narrow else 11)
        if self._item is not None:
            self._show()

    def _show(self) -> None:
        assert self._item is not None
        row = self._kind.row(self._item.value, self._state)
        if (parent := self.get_parent()) is not None and row[:3] != self._spoken:
            name(parent, spoken(row))
            self._spoken = row[:3]
        _set(self._title, row.title)
        _set(self._subtitle, row.subtitle)
        _set(self._number, row.number)
        _set(self._badge, row.badge)
        self._badge.set_visible(bool(row.badge) and not (self._narrow and row.tone == "success"))
        self._curve.set_visible(not self._narrow)
        self._number.set_visible(bool(row.number))
        self._curve.show_rates(row.rates)
        if row.tone != self._tone:
            self._badge.set_css_classes(["badge", *filter(None, [row.tone])])
            self._tone = row.tone

    def choose(self) -> None:
        if self._item is not None:
            self._chosen(self._item)


RowView.install_action("row.choose", None, lambda view, *_: view.choose())


def spoken(row: Row) -> str:
    """Return a row as a screen reader says it. What changes each second it does not say."""
    return ", ".join(filter(None, (row.title, row.subtitle, row.badge)))


def _label(**properties: Any) -> Gtk.Label:
    return Gtk.Label(xalign=0, ellipsize=Pango.EllipsizeMode.END, **properties)


def _set(label: Gtk.Label, text: str) -> None:
    if label.get_text() != text:
        label.set_text(text)
