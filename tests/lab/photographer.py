"""Draws the applet's window into PNG files. It runs by the system's Python, which has GTK.

Its argument is JSON, an array of shots: "file", "page", "width", "height", and where wanted "dark",
"wait" (seconds), "choose" (what is chosen, by a part of its key), "explain" (what is chosen),
"window" ("route", "document"), "with" (what is in its fields).
"""

import json
import os
import struct
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mfc_dbus.applet.main as applet

applet._choose_versions()

from gi.repository import Adw, GdkPixbuf, GLib, Gtk

from mfc_dbus.applet.application import Application
from mfc_dbus.applet.drawing import key_of_route

# XWDFileHeader: the size of the header, ..., bytes of a line (13th), ..., colours (20th).
_XWD = struct.Struct(">20I")
_SETTLE = 600  # milliseconds until all that was changed is drawn


class Photographer(Application):
    """The applet, that takes pictures of itself and ends."""

    service: Any
    window: Any

    def __init__(self, shots: list[Mapping[str, Any]]) -> None:
        super().__init__()
        self._shots = shots

    def do_activate(self) -> None:
        Application.do_activate(self)
        if hasattr(self, "_steps"):
            return
        Gtk.Settings.get_default().set_property("gtk-enable-animations", False)
        self.hold()
        self._steps = self._work()
        GLib.timeout_add(100, self._when_there)

    def _when_there(self) -> bool:
        if not self.service.available:
            return True
        self._step()
        return False

    def _step(self) -> bool:
        try:
            GLib.timeout_add(next(self._steps), self._step)
        except StopIteration:
            self.release()
            self.quit()
        return False

    def _work(self) -> Iterator[int]:
        for shot in self._shots:
            scheme = Adw.ColorScheme.FORCE_DARK if shot.get("dark") else Adw.ColorScheme.FORCE_LIGHT
            Adw.StyleManager.get_default().set_color_scheme(scheme)
            window = self.window
            window.set_default_size(shot["width"], shot["height"])
            window.show_page(shot["page"])
            window.choose(None)
            yield _SETTLE * 2 + 1000 * shot.get("wait", 0)
            if "choose" in shot:
                self._choose(shot["choose"])
                yield _SETTLE
            if shot.get("explain"):
                window._details._explaining.ask()
                yield 3500
            open_ = {"route": window.add_route, "document": window._show_document}
            if "window" in shot:
                open_[shot["window"]](*shot.get("with", []))
                yield _SETTLE
                window = next(
                    each
                    for each in Gtk.Window.list_toplevels()
                    if each.is_active() or each.get_transient_for()
                )
            self._save(window, shot["file"])
            if window is not self.window:
                window.close()
                yield _SETTLE

    def _choose(self, name: str) -> None:
        key = next(key for key in self.service.state.routes if name in key)
        self.window.choose(key_of_route(key))

    def _save(self, window: Gtk.Window, file: str) -> None:
        """Take the window out of the frame buffer, in whose corner it is: no one places windows."""
        surface = window.get_surface()
        width, height = surface.get_width(), surface.get_height()
        with Path(os.environ["FRAMEBUFFER"]).open("rb") as frame:
            header = frame.read(_XWD.size)
            begin, _, _, _, _, _, _, _, _, _, _, _, stride, *_, colours = _XWD.unpack(header)
            frame.seek(begin + colours * 12)
            pixels = frame.read(stride * height)
        shown = bytearray(width * height * 3)
        rows = [pixels[y * stride : y * stride + width * 4] for y in range(height)]
        whole = b"".join(rows)
        for to, from_ in enumerate((2, 1, 0)):  # blue comes first
            shown[to::3] = whole[from_::4]
        GdkPixbuf.Pixbuf.new_from_bytes(
            GLib.Bytes(bytes(shown)), GdkPixbuf.Colorspace.RGB, False, 8, width, height, width * 3
        ).savev(file, "png", [], [])


if __name__ == "__main__":
    Photographer(json.loads(sys.argv[1])).run([])
