"""Small widgets that several pages use."""

from collections.abc import Callable, Sequence
from typing import Any

from gi.repository import Adw, Gtk, Pango


def name(widget: Gtk.Widget, text: str) -> None:
    """Give a widget the name that a screen reader says."""
    widget.update_property([Gtk.AccessibleProperty.LABEL], [text])


def fact(title: str, value: str) -> Gtk.Widget:
    """A name and a value, side by side."""
    row = Gtk.Box(spacing=12)
    row.append(Gtk.Label(label=title, xalign=0, css_classes=["dim-label"], valign=Gtk.Align.START))
    row.append(
        Gtk.Label(
            label=value,
            xalign=1,
            hexpand=True,
            wrap=True,
            wrap_mode=Pango.WrapMode.WORD_CHAR,
            selectable=True,
            css_classes=["numeric"],
        )
    )
    return row


def text_button(label: str, clicked: Callable[[], None], *classes: str) -> Gtk.Button:
    button = Gtk.Button(label=label, css_classes=list(classes))
    button.connect("clicked", lambda _: clicked())
    return button


def icon_button(icon: str, label: str, clicked: Callable[[], None], *classes: str) -> Gtk.Button:
    """A button with an icon; its label is its name and its tooltip."""
    button = Gtk.Button(icon_name=icon, tooltip_text=label, css_classes=list(classes))
    button.connect("clicked", lambda _: clicked())
    name(button, label)
    return button


def paragraph(text: str, *classes: str) -> Gtk.Label:
    return Gtk.Label(
        label=text,
        xalign=0,
        wrap=True,
        wrap_mode=Pango.WrapMode.WORD_CHAR,
        css_classes=list(classes),
        selectable=True,
    )


class CheckBox(Gtk.CheckButton):
    """A check box that can be ticked by AT-SPI too, for which GTK 4.8 has no action."""


CheckBox.install_action("check-box.toggle", None, lambda box, *_: box.activate())


def switch_row(
    title: str, subtitle: str = "", *, active: bool = False
) -> tuple[Adw.ActionRow, Any]:
    """A row with a switch at its end."""
    switch = Gtk.Switch(valign=Gtk.Align.CENTER, active=active)
    row = Adw.ActionRow(title=title, subtitle=subtitle, activatable_widget=switch)
    row.add_suffix(switch)
    name(switch, title)
    return row, switch


def vertical(spacing: int = 0, **properties: Any) -> Gtk.Box:
    return Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=spacing, **properties)


def focus_within(top: Gtk.Widget) -> Sequence[int] | None:
    """Return where in a widget the keyboard's focus is: at each level the number of the child."""
    root = top.get_root()
    widget = root.get_focus() if root is not None else None
    if widget is None or not widget.is_ancestor(top):
        return None
    places: list[int] = []
    while widget != top:
        number, sibling = 0, widget.get_prev_sibling()
        while sibling is not None:
            number, sibling = number + 1, sibling.get_prev_sibling()
        places.insert(0, number)
        widget = widget.get_parent()
    return places


def focus_again(top: Gtk.Widget, places: Sequence[int]) -> None:
    """Move the focus to the same place, or to the nearest around it."""
    widget = top
    for number in places:
        child = widget.get_first_child()
        for _step in range(number):
            child = child.get_next_sibling() if child is not None else None
        if child is None:
            break
        widget = child
    widget.grab_focus()


def clear(box: Gtk.Box) -> None:
    while child := box.get_first_child():
        box.remove(child)
