"""The application: one instance, its actions, and the window."""

from collections.abc import Callable
from importlib.resources import files
from typing import Any

from gi.repository import Adw, Gdk, Gio, GLib, Gtk

from mfc_dbus.applet.service import Service
from mfc_dbus.applet.translation import _
from mfc_dbus.applet.window import Window

APPLICATION_ID = "org.example.MulticastForwarding.Applet"
_STREAM = "(sss)"  # source, group, iif
_SEEN, _HIDDEN = 1, 5  # seconds between looks at the streams


class Application(Adw.Application):
    """Follows the service from its start on; the window is made when somebody wants to see it."""

    def __init__(self) -> None:
        GLib.set_prgname(APPLICATION_ID)
        super().__init__(application_id=APPLICATION_ID)
        self.service: Service | None = None
        self.window: Window | None = None

    def do_startup(self) -> None:
        Adw.Application.do_startup(self)
        GLib.set_application_name(_("Multicast Forwarding"))
        _load_style()
        self.service = Service()
        self.service.poll_streams(_HIDDEN)
        self._add_action("quit", lambda *_: self.quit())
        self._add_action("show", lambda *_: self.activate())
        self._add_action("explain", self._explain, _STREAM)
        self._add_action("route-unrouted", self._route_unrouted, _STREAM)
        self.set_accels_for_action("app.quit", ["<Control>q"])
        self.set_accels_for_action("window.close", ["<Control>w"])

    def do_activate(self) -> None:
        self._show_window().present()

    def _show_window(self) -> Window:
        assert self.service is not None
        if self.window is None:
            self.window = Window(self, self.service)
            self.window.connect("close-request", self._closed)
            self.service.poll_streams(_SEEN)
        return self.window

    def _closed(self, _window: Window) -> bool:
        assert self.service is not None
        self.window = None
        self.service.poll_streams(_HIDDEN)
        return False

    def _explain(self, _action: Gio.SimpleAction, stream: GLib.Variant) -> None:
        window = self._show_window()
        window.present()
        window.explain(*stream.unpack())

    def _route_unrouted(self, _action: Gio.SimpleAction, stream: GLib.Variant) -> None:
        window = self._show_window()
        window.present()
        window.add_route(*stream.unpack())

    def _add_action(
        self, name: str, activated: Callable[..., Any], signature: str | None = None
    ) -> None:
        type_ = GLib.VariantType(signature) if signature else None
        action = Gio.SimpleAction.new(name, type_)
        action.connect("activate", activated)
        self.add_action(action)


def _load_style() -> None:
    provider = Gtk.CssProvider()
    provider.load_from_data(files(__package__).joinpath("style.css").read_bytes())
    Gtk.StyleContext.add_provider_for_display(
        Gdk.Display.get_default(), provider, Gtk.STYLE_PROVIDER_PRIORITY_APPLICATION
    )
