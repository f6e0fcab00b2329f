"""The picture: interfaces left and right, and a band for each stream between them.

Each band has a button in it that nobody sees: it has the keyboard's focus, and the name that a
screen reader says.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gi.repository import Gdk, Graphene, Gtk, Pango, PangoCairo

from mfc_dbus.applet.drawing import Key
from mfc_dbus.applet.layout import Band, Bracket, Curve, Kind, Layout, Node, arrange, natural
from mfc_dbus.applet.texts import rate as write_rate
from mfc_dbus.applet.translation import _
from mfc_dbus.applet.widgets import name

# Of GNOME's palette, for light and dark: one colour for what arrives on one interface.
_COLOURS = (
    ("#1c71d8", "#62a0ea"),
    ("#26a269", "#2ec27e"),
    ("#813d9c", "#c061cb"),
    ("#e66100", "#ffa348"),
    ("#0d7c8a", "#5bc8d6"),
    ("#a51d2d", "#f66151"),
    ("#865e3c", "#cdab8f"),
)
_GREY = ("#9a9996", "#77767b")
_UNROUTED = ("#c64600", "#ffa348")
_STOP = ("#c01c28", "#ff7b63")
_LABELLED = 13.0  # slots that are so high have room for a name
_THIN = 6.0  # bands whose names are above them
_FAST = 4  # cairo.Antialias.FAST, which is drawn in half the time
_SOME = 60  # bands, of which more are thin ones
_TOLERANCE = 0.3  # pixels by which a curve may be beside itself
_LONG = 170.0  # room for a name with the source


class Picture(Gtk.Widget):
    """Draws a layout. chosen: told the key of a band that the user chooses.

    tooltip: returns what is said of a band that is pointed to.
    """

    def __init__(self, chosen: Callable[[Key], None], tooltip: Callable[[Key], str]) -> None:
        super().__init__(hexpand=True, vexpand=True, has_tooltip=True, css_classes=["picture"])
        name(self, _("Streams between interfaces"))
        self._chosen = chosen
        self._tooltip = tooltip
        self._drawn: Sequence[Any] = ()
        self._nodes: Mapping[str, str] = {}
        self._left_out = 0
        self._layout = Layout((), (), (), 0.0, 0)
        self._buttons: dict[Key, Gtk.Button] = {}
        self._hovered: Key | None = None
        self._selected: Key | None = None
        self._is_grey = False
        self._seen: Sequence[object] = ()
        self.connect("query-tooltip", self._query_tooltip)
        motion = Gtk.EventControllerMotion()
        motion.connect("motion", lambda _, x, y: self._hover(self._layout.nearest(x, y)))
        motion.connect("leave", lambda _: self._hover(None))
        self.add_controller(motion)
        click = Gtk.GestureClick()
        click.connect("released", self._clicked)
        self.add_controller(click)

    def show_bands(self, drawn: Sequence[Any], left_out: int, nodes: Mapping[str, str]) -> None:
        """Show these bands. nodes: what is said of an interface below its name."""
        self._drawn, self._left_out, self._nodes = drawn, left_out, nodes
        self._arrange()
        self._keep_buttons()
        seen, self._seen = self._seen, (*map(_look, self._layout.bands), *nodes.items())
        if seen == self._seen:
            return
        self.queue_resize() if self._layout.height > self.get_height() else self.queue_allocate()
        self.queue_draw()

    def select(self, key: Key | None) -> None:
        self._selected = key
        self.queue_draw()

    def set_grey(self, is_grey: bool) -> None:
        """Draw all of it as something of the past."""
        self._is_grey = is_grey
        self.queue_draw()

    def do_get_request_mode(self) -> Gtk.SizeRequestMode:
        return Gtk.SizeRequestMode.CONSTANT_SIZE

    def do_measure(self, orientation: Gtk.Orientation, _for_size: int) -> tuple[int, int, int, int]:
        if orientation is Gtk.Orientation.HORIZONTAL:
            return 300, 600, -1, -1
        least = int(arrange(self._drawn, 600, 0).height)
        return least, max(least, 320), -1, -1

    def do_size_allocate(self, _width: int, _height: int, _baseline: int) -> None:
        self._arrange()
        for band in self._layout.bands:
            button = self._buttons.get(band.drawn.key)
            if button is not None:
                rect = Gdk.Rectangle()
                rect.x, rect.y = int(band.x), int(band.y - band.slot / 2)
                rect.width, rect.height = 48, max(int(band.slot), 4)
                button.size_allocate(rect, -1)

    def do_snapshot(self, snapshot: Gtk.Snapshot) -> None:
        width, height = self.get_width(), self.get_height()
        context = snapshot.append_cairo(Graphene.Rect().init(0, 0, width, height))
        context.set_tolerance(_TOLERANCE)
        if len(self._layout.bands) > _SOME:
            context.set_antialias(_FAST)
        Painting(self, context, self._layout, self._nodes).paint(
            self._hovered, self._selected, is_grey=self._is_grey, focused=self._focused()
        )

    def do_focus(self, direction: Gtk.DirectionType) -> bool:
        """Move the focus from band to band, in their order."""
        keys = [band.drawn.key for band in self._layout.bands]
        forth = direction in (Gtk.DirectionType.DOWN, Gtk.DirectionType.RIGHT)
        arrows = (Gtk.DirectionType.UP, Gtk.DirectionType.DOWN)
        focused = self._focused()
        if not keys:
            return False
        if focused is None:
            first = self._selected if self._selected in keys else None
            backwards = direction is Gtk.DirectionType.TAB_BACKWARD
            return bool(self._buttons[first or keys[-1 if backwards else 0]].grab_focus())
        if direction not in arrows:
            return False  # Tab leaves the picture
        place = keys.index(focused) + (1 if forth else -1)
        if not 0 <= place < len(keys):
            return False
        return bool(self._buttons[keys[place]].grab_focus())

    def _focused(self) -> Key | None:
        return next((key for key, each in self._buttons.items() if each.has_focus()), None)

    def _arrange(self) -> None:
        width, height = self.get_width() or 600, self.get_height()
        self._layout = arrange(self._drawn, width, height, self._left_out)

    def _keep_buttons(self) -> None:
        """Have a button for each band, with its name of now."""
        wanted = {band.drawn.key: band for band in self._layout.bands}
        for key in self._buttons.keys() - wanted.keys():
            self._buttons.pop(key).unparent()
        previous: Gtk.Widget | None = None
        for key, band in wanted.items():
            button = self._buttons.get(key)
            if button is None:
                button = self._buttons[key] = self._make_button(key)
                button.insert_after(self, previous)
            previous = button
            text = spoken(band)
            if text != button.spoken:
                button.spoken = text
                name(button, text)

    def _make_button(self, key: Key) -> Gtk.Button:
        button = BandButton(css_classes=["band"], opacity=0)
        button.connect("clicked", lambda _: self._chosen(key))
        button.connect("notify::has-focus", lambda *_: self.queue_draw())
        return button

    def _hover(self, band: Band | None) -> None:
        key = band.drawn.key if band else None
        if key != self._hovered:
            self._hovered = key
            self.trigger_tooltip_query()
            self.set_cursor_from_name("pointer" if key else None)
            self.queue_draw()

    def _clicked(self, _gesture: Gtk.GestureClick, _count: int, x: float, y: float) -> None:
        band = self._layout.nearest(x, y)
        if band is not None:
            self._chosen(band.drawn.key)

    def _query_tooltip(
        self, _widget: object, x: int, y: int, _keyboard: bool, tooltip: Gtk.Tooltip
    ) -> bool:
        band = self._layout.nearest(x, y)
        if band is None:
            return False
        tooltip.set_markup(self._tooltip(band.drawn.key))
        return True


def _look(band: Band) -> object:
    """Return what the eye sees of a band: half a pixel it does not."""
    return band.drawn.key, band.drawn.kind, round(2 * band.width), band.curves


class BandButton(Gtk.Button):
    """The button in a band. spoken: the name that it was given."""

    spoken = ""


def spoken(band: Band) -> str:
    """Return a band as a screen reader says it."""
    kinds = {
        Kind.FLOWING: lambda: write_rate(band.drawn.rate),
        Kind.QUIET: lambda: _("nothing arrives"),
        Kind.WAITING: lambda: _("waiting"),
        Kind.STOPPED: lambda: _("stopped"),
        Kind.UNROUTED: lambda: _("no route covers it"),
    }
    oifs = ", ".join(band.drawn.oifs)
    leaves = _(", leaves by {oifs}").format(oifs=oifs) if oifs else ""
    where = _("arrives on {iif}").format(iif=band.drawn.iif)
    return f"{band.drawn.label}, {where}{leaves}, {kinds[band.drawn.kind]()}"


class Painting:
    """One drawing of the picture."""

    def __init__(
        self, widget: Gtk.Widget, context: Any, layout: Layout, nodes: Mapping[str, str]
    ) -> None:
        self._context = context
        self._layout = layout
        self._texts = nodes
        self._pango = widget.create_pango_layout("")
        self._ink = widget.get_style_context().get_color()
        self._is_dark = self._ink.red > 0.5
        names = sorted({node.name for node in layout.nodes if node.is_iif}, key=natural)
        self._colours = {each: _COLOURS[n % len(_COLOURS)] for n, each in enumerate(names)}

    def paint(
        self, hovered: Key | None, selected: Key | None, *, is_grey: bool, focused: Key | None
    ) -> None:
        chosen = {hovered, selected, focused} - {None}
        keys = {band.drawn.key for band in self._layout.bands}
        chosen &= keys
        for band in self._layout.bands:
            self._band(band, chosen, is_grey)
        for band in self._layout.bands:  # those that count lie above the others
            if band.drawn.key in chosen:
                self._band(band, chosen, is_grey)
        for bracket in self._layout.brackets:
            self._bracket(bracket)
        for node in self._layout.nodes:
            self._node(node)
        self._labels(chosen)
        for band in self._layout.bands:
            if band.drawn.key == focused:
                self._ring(band)

    def _band(self, band: Band, chosen: set[Key | None], is_grey: bool) -> None:
        kind = band.drawn.kind
        alpha = {Kind.FLOWING: 0.62, Kind.QUIET: 0.4, Kind.WAITING: 0.55}.get(kind, 0.9)
        if chosen:
            alpha = 1.0 if band.drawn.key in chosen else alpha * 0.3
        pair = self._colours[band.drawn.iif]
        if is_grey or kind is Kind.WAITING:
            pair = _GREY
        elif kind is Kind.UNROUTED:
            pair = _UNROUTED
        self._source(pair, alpha)
        context = self._context
        context.set_line_width(max(band.width, 1.0 if kind is not Kind.UNROUTED else 1.5))
        context.set_dash([6, 4] if kind is Kind.UNROUTED else [])
        for curve in band.curves:
            self._trace(curve)
            context.stroke()
        context.set_dash([])
        if kind is Kind.STOPPED:
            self._bar(band, pair if is_grey else _STOP, alpha)

    def _trace(self, curve: Curve) -> None:
        middle = (curve.x0 + curve.x1) / 2
        self._context.move_to(curve.x0, curve.y0)
        self._context.curve_to(middle, curve.y0, middle, curve.y1, curve.x1, curve.y1)

    def _bar(self, band: Band, pair: tuple[str, str], alpha: float) -> None:
        """End a band that leaves by nothing."""
        (curve,) = band.curves
        half = max(min(band.slot / 2 - 1, 9.0), 2.0)
        self._source(pair, alpha)
        self._context.set_line_width(3)
        self._context.move_to(curve.x1 + 1.5, curve.y1 - half)
        self._context.line_to(curve.x1 + 1.5, curve.y1 + half)
        self._context.stroke()

    def _bracket(self, bracket: Bracket) -> None:
        context = self._context
        self._ink_source(0.45)
        context.set_line_width(1)
        x, top, bottom = bracket.x + 6, bracket.y0 + 1, bracket.y1 - 1
        context.move_to(x - 3, top)
        context.line_to(x, top)
        context.line_to(x, bottom)
        context.line_to(x - 3, bottom)
        context.stroke()

    def _node(self, node: Node) -> None:
        context = self._context
        radius = 9.0
        x, y, right, bottom = node.x, node.y, node.x + node.width, node.y + node.height
        self._round(x, y, node.width, node.height, radius)
        self._ink_source(0.08)
        context.fill()
        if node.is_iif:
            self._source(self._colours[node.name], 1)
            context.rectangle(right - 3, y + radius, 3, node.height - 2 * radius)
            context.fill()
        room = node.width - 20
        middle = (y + bottom) / 2
        text = self._texts.get(node.name, "")
        self._text(node.name, x + 10, middle - (9 if text else 0), room, bold=True)
        if text:
            self._text(text, x + 10, middle + 9, room, alpha=0.65, small=True)

    def _round(self, x: float, y: float, width: float, height: float, radius: float) -> None:
        """Begin a rectangle with round corners."""
        context = self._context
        right, bottom = x + width, y + height
        context.new_sub_path()
        for cx, cy, quarter in (
            (right - radius, y + radius, -1),
            (right - radius, bottom - radius, 0),
            (x + radius, bottom - radius, 1),
            (x + radius, y + radius, 2),
        ):
            context.arc(cx, cy, radius, quarter * math.pi / 2, (quarter + 1) * math.pi / 2)
        context.close_path()

    def _labels(self, chosen: set[Key | None]) -> None:
        """Name the bands where there is room; what is chosen always, above its band."""
        for band in self._layout.bands:
            is_chosen = band.drawn.key in chosen
            if band.slot < _LABELLED and not is_chosen:
                continue
            x = band.x + (16 if band.drawn.learned else 12)
            room = (band.curves[0].x1 - x) * (0.62 if band.drawn.oifs else 1) - 8
            if room < 60:
                continue
            lies_on = band.width > _THIN or band.slot < _LABELLED  # else it is above the line
            self._text(
                band.drawn.label if room > _LONG else band.drawn.group,
                x,
                band.y if lies_on else band.y - 8,
                room,
                small=True,
                plate=True,
                alpha=1.0 if is_chosen or not chosen else 0.5,
            )

    def _ring(self, band: Band) -> None:
        """Show which band has the keyboard's focus."""
        half = max(band.width / 2 + 3, 5.0)
        self._source(_COLOURS[0], 0.9)
        self._context.set_line_width(2)
        self._context.rectangle(band.x + 1, band.y - half, 46, 2 * half)
        self._context.stroke()

    def _text(
        self,
        text: str,
        x: float,
        middle: float,
        room: float,
        *,
        bold: bool = False,
        small: bool = False,
        plate: bool = False,
        alpha: float = 1.0,
    ) -> None:
        """Write a text in this room, its end cut off if need be. plate: on a ground of its own."""
        pango = self._pango
        attributes = Pango.AttrList()
        if bold:
            attributes.insert(Pango.attr_weight_new(Pango.Weight.BOLD))
        if small:
            attributes.insert(Pango.attr_scale_new(0.85))
        pango.set_attributes(attributes)
        pango.set_ellipsize(Pango.EllipsizeMode.END)
        pango.set_width(int(room * Pango.SCALE))
        pango.set_text(text, -1)
        width, height = pango.get_pixel_size()
        if plate:
            ground = 0.12 if self._is_dark else 1.0
            self._context.set_source_rgba(ground, ground, ground, 0.8)
            self._round(x - 7, middle - height / 2 - 1, width + 14, height + 2, height / 2 + 1)
            self._context.fill()
        self._ink_source(alpha)
        self._context.move_to(x, middle - height / 2)
        PangoCairo.show_layout(self._context, pango)

    def _source(self, pair: tuple[str, str], alpha: float) -> None:
        colour = Gdk.RGBA()
        colour.parse(pair[self._is_dark])
        self._context.set_source_rgba(colour.red, colour.green, colour.blue, alpha)

    def _ink_source(self, alpha: float) -> None:
        ink = self._ink
        self._context.set_source_rgba(ink.red, ink.green, ink.blue, ink.alpha * alpha)
