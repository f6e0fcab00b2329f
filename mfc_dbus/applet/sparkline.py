"""A small curve of the last minute's rates."""

from collections.abc import Sequence
from typing import Any

from gi.repository import Graphene, Gtk

from mfc_dbus.applet.state import HISTORY

_WIDTH, _HEIGHT = 72, 20


class Sparkline(Gtk.Widget):
    """The curve; from 0 at its bottom to the highest of these rates at its top."""

    def __init__(self, width: int = _WIDTH, height: int = _HEIGHT, **properties: Any) -> None:
        super().__init__(**properties, width_request=width, height_request=height)
        self._rates: Sequence[float] = ()

    @property
    def has_rates(self) -> bool:
        return len(self._rates) > 1

    def show_rates(self, rates: Sequence[float] | None) -> None:
        self._rates = tuple(rates or ())
        self.set_opacity(1.0 if self.has_rates else 0.0)
        self.queue_draw()

    def do_snapshot(self, snapshot: Gtk.Snapshot) -> None:
        if not self.has_rates:
            return
        width, height = self.get_width(), self.get_height()
        context = snapshot.append_cairo(Graphene.Rect().init(0, 0, width, height))
        found, accent = self.get_style_context().lookup_color("accent_color")
        colour = accent if found else self.get_style_context().get_color()
        top = max(self._rates) or 1.0
        step = (width - 2) / (HISTORY - 1)
        begin = width - 1 - step * (len(self._rates) - 1)
        points = [
            (begin + number * step, height - 2 - (height - 4) * rate / top)
            for number, rate in enumerate(self._rates)
        ]
        context.move_to(*points[0])
        for point in points[1:]:
            context.line_to(*point)
        context.set_source_rgba(colour.red, colour.green, colour.blue, 1)
        context.set_line_width(1.5)
        context.stroke_preserve()
        context.line_to(points[-1][0], height)
        context.line_to(points[0][0], height)
        context.set_source_rgba(colour.red, colour.green, colour.blue, 0.15)
        context.fill()
