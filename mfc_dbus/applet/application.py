"""The application: one instance, its actions, and the window."""

from gi.repository import Adw, Gio, GLib

from mfc_dbus.applet.service import Service

APPLICATION_ID = "org.example.MulticastForwarding.Applet"
_STREAM = GLib.VariantType("(sss)")


class Application(Adw.Application):
    """Follows the service from its start on; the window is made when somebody wants to see it."""

    def __init__(self) -> None:
        super().__init__(application_id=APPLICATION_ID)
        self.service: Service | None = None
        self.window: Adw.ApplicationWindow | None = None

    def do_startup(self) -> None:
        Adw.Application.do_startup(self)
        self.service = Service()
        self._add_action("quit", lambda *_: self.quit())
        self._add_action("show", lambda *_: self.activate())
        self.set_accels_for_action("app.quit", ["<Control>q"])

    def do_activate(self) -> None:
        if self.window is None:
            self.window = Adw.ApplicationWindow(application=self, title="Multicast forwarding")
        self.window.present()

    def _add_action(
        self, name: str, activated: object, parameter: GLib.VariantType | None = None
    ) -> None:
        action = Gio.SimpleAction.new(name, parameter)
        action.connect("activate", activated)
        self.add_action(action)
