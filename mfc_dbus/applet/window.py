"""The window: the pages, what is chosen in all of them, and the pane that tells of it."""

from collections.abc import Callable
from functools import partial
from typing import Any

from gi.repository import Adw, GLib, Gtk

from mfc_dbus.applet import drawing, tooltips
from mfc_dbus.applet.acting import Acting
from mfc_dbus.applet.details import Details, Value
from mfc_dbus.applet.document_window import DocumentWindow
from mfc_dbus.applet.drawing import Key
from mfc_dbus.applet.form import MembershipForm, RouteForm
from mfc_dbus.applet.list_page import ListPage
from mfc_dbus.applet.listing import kinds
from mfc_dbus.applet.picture_page import PicturePage
from mfc_dbus.applet.service import Service
from mfc_dbus.applet.translation import _
from mfc_dbus.applet.widgets import icon_button, name, vertical
from mfc_dbus.client.info import RouteInfo

_TOAST = 8  # seconds


class Window(Adw.ApplicationWindow):
    """Shows what the service knows."""

    def __init__(self, application: Adw.Application, service: Service) -> None:
        super().__init__(
            application=application,
            title=_("Multicast Forwarding"),
            default_width=1080,
            default_height=720,
            width_request=360,
            height_request=400,
        )
        self._service = service
        self._state = service.state
        self._key: Key | None = None
        self._handlers: list[int] = []
        self._last_toast: Adw.Toast | None = None
        self.acting = Acting(service)
        self.acting.connect("told", self._told)
        self.acting.connect("failed", lambda _, sentence: self._toast(sentence))
        self.acting.connect("locks", lambda _: self._show_locks())
        self._kinds = {kind.name: kind for kind in kinds()}
        self._acts: list[Gtk.Widget] = []
        self.picture = PicturePage(self._state, self.choose)
        self._pages = {
            each: ListPage(
                kind, self._state, lambda key, _value: self.choose(key), self._adder(each)
            )
            for each, kind in self._kinds.items()
        }
        self.stack = Adw.ViewStack(vexpand=True)
        page = self.stack.add_titled(self.picture, "picture", _("Picture"))
        page.set_icon_name("network-workgroup-symbolic")
        for each, kind in self._kinds.items():
            page = self.stack.add_titled(self._pages[each], each, kind.title)
            page.set_icon_name(kind.icon)
        self._details = Details(service, self.acting, self.add_route, lambda: self.choose(None))
        self._flap = Adw.Flap(
            content=self.stack,
            flap=self._details,
            separator=Gtk.Separator(),
            flap_position=Gtk.PackType.END,
            reveal_flap=False,
            locked=True,
            fold_threshold_policy=Adw.FoldThresholdPolicy.NATURAL,
            vexpand=True,
        )
        self._details.set_size_request(340, -1)
        self._toasts = Adw.ToastOverlay(child=self._flap)
        content = vertical()
        content.append(self._make_header())
        content.append(self._make_banner())
        content.append(self._toasts)
        content.append(self._bar)
        self.set_content(content)
        self._add_shortcuts()
        self._follow()
        self._availability_changed()

    def choose(self, key: Key | None) -> None:
        """Choose a thing: it is marked on every page, and the pane tells of it."""
        self._key = key
        self.picture.select(key)
        for page in self._pages.values():
            page.select(key)
        self._show_details()

    def add_route(self, source: str = "", group: str = "", iif: str = "") -> None:
        """Let the user make a route, of this stream where it is known."""
        RouteForm(self, self.acting, self._state, source, group, iif).present()

    def show_page(self, page: str) -> None:
        self.stack.set_visible_child_name(page)

    def explain(self, source: str, group: str, iif: str) -> None:
        """Choose a stream and ask why it is forwarded or not."""
        for key in self._keys(source, group, iif):
            if self._find(key) is not None:
                self.choose(key)
                break
        self._details.explain(source, group, iif)
        self._flap.set_reveal_flap(True)

    def _keys(self, source: str, group: str, iif: str) -> list[Key]:
        return [
            (drawing.UNROUTED, source, group, iif, "0"),
            (drawing.ROUTE, source, group, "", "0"),
            (drawing.ROUTE, source, group, iif, "0"),
            (drawing.STREAM, source, group, iif, "0"),
        ]

    def _find(self, key: Key) -> Value | None:
        """Return what has this key, None where it is gone."""
        if key[0] in (drawing.ROUTE, drawing.STREAM, drawing.UNROUTED):
            return tooltips.find(self._state, key)
        kind = self._kinds[f"{key[0]}s"]  # few memberships and interfaces
        return next((each for each in kind.values(self._state) if kind.key(each) == key), None)

    def _show_details(self) -> None:
        value = self._find(self._key) if self._key is not None else None
        self._details.show_value(value)
        self._flap.set_reveal_flap(value is not None)

    def _add_shortcuts(self) -> None:
        """What all can be reached by, besides Tab and the arrows."""
        shortcuts = Gtk.ShortcutController(scope=Gtk.ShortcutScope.MANAGED)
        pages = ["picture", *self._pages]
        doings: dict[str, Callable[[], None]] = {
            "Escape": lambda: self.choose(None),
            "<Control>f": self._search,
            "<Control>n": self._add_if_allowed,
            **{f"<Alt>{n}": partial(self.show_page, page) for n, page in enumerate(pages, 1)},
        }
        for trigger, doing in doings.items():
            shortcuts.add_shortcut(
                Gtk.Shortcut(
                    trigger=Gtk.ShortcutTrigger.parse_string(trigger),
                    action=Gtk.CallbackAction.new(partial(_do, doing)),
                )
            )
        self.add_controller(shortcuts)

    def _search(self) -> None:
        page = self.stack.get_visible_child()
        if isinstance(page, ListPage):
            page.search.grab_focus()

    def _add_if_allowed(self) -> None:
        if self.acting.may():
            self.add_route()

    def _make_header(self) -> Gtk.Widget:
        header = Adw.HeaderBar(centering_policy=Adw.CenteringPolicy.STRICT)
        title = Adw.ViewSwitcherTitle(stack=self.stack, title=_("Multicast"))
        header.set_title_widget(title)
        self._bar = Adw.ViewSwitcherBar(stack=self.stack)
        title.connect("notify::title-visible", lambda *_: self._set_narrow(title))
        self._lock = icon_button(
            "changes-prevent-symbolic", _("Unlock to change routes"), self.acting.unlock
        )
        self._forbidden = Gtk.Image(
            icon_name="action-unavailable-symbolic",
            tooltip_text=_("You may look, but change nothing"),
        )
        name(self._forbidden, _("You may look, but change nothing"))
        header.pack_start(self._lock)
        header.pack_start(self._forbidden)
        document = icon_button(
            "document-edit-symbolic", _("All routes as a document"), self._show_document
        )
        header.pack_start(document)
        return header

    def _set_narrow(self, title: Adw.ViewSwitcherTitle) -> None:
        narrow = title.get_title_visible()
        self._bar.set_reveal(narrow)
        for page in self._pages.values():
            page.set_narrow(narrow)

    def _make_banner(self) -> Gtk.Widget:
        """Say that the service is away, while it is."""
        self._banner = Gtk.Label(
            label=_("The service does not run. This is what was known last."),
            wrap=True,
            css_classes=["banner"],
        )
        return self._banner

    def _adder(self, kind: str) -> Gtk.Widget | None:
        """Make the button that adds something to a list."""
        adders: dict[str, tuple[str, Callable[[], None]]] = {
            "routes": (_("Add a route"), self.add_route),
            "memberships": (_("Join a group"), lambda: MembershipForm(self, self.acting).present()),
        }
        if kind not in adders:
            return None
        label, clicked = adders[kind]
        button = icon_button("list-add-symbolic", label, clicked, "suggested-action")
        self._acts.append(button)
        return button

    def _follow(self) -> None:
        service = self._service
        for signal, told in (
            ("routes-changed", self._routes_changed),
            ("reset", lambda *_: self._reset()),
            ("streams-changed", lambda *_: self._streams_changed()),
            ("memberships-changed", lambda *_: self._refilled("memberships")),
            ("interfaces-changed", lambda *_: self._refilled("interfaces")),
            ("unrouted-changed", lambda *_: self._refilled("unrouted")),
            ("availability-changed", lambda *_: self._availability_changed()),
        ):
            self._handlers.append(service.connect(signal, told))
        self.connect("close-request", self._closed)

    def _closed(self, _window: Adw.ApplicationWindow) -> bool:
        """Follow the service no longer: another window is made when one is wanted again."""
        for handler in self._handlers:
            self._service.disconnect(handler)
        self._handlers.clear()
        self.acting.stop()
        return False

    def _routes_changed(self, _service: object, added: Any, changed: Any, removed: Any) -> None:
        self._pages["routes"].update([*added, *changed], removed)
        self.picture.refresh()
        touched: list[RouteInfo] = [*added, *changed, *removed]
        if any(drawing.key_of_route(route.key) == self._key for route in touched):
            self._show_details()

    def _streams_changed(self) -> None:
        self._pages["streams"].refill()
        self._pages["routes"].refresh()
        if self._pages["interfaces"].get_mapped():
            self._service.read_interfaces()
        self.picture.refresh()
        self._details.refresh()

    def _refilled(self, kind: str) -> None:
        self._pages[kind].refill()
        self.picture.refresh()
        if self._key is not None and self._find(self._key) is None:
            self._show_details()

    def _reset(self) -> None:
        for page in self._pages.values():
            page.refill()
        self.picture.refresh()
        self._show_details()

    def _availability_changed(self) -> None:
        available = self._service.available
        self._banner.set_visible(not available)
        self.picture.set_grey(not available)
        for page in self._pages.values():
            page.set_opacity(1.0 if available else 0.5)
        self._details.set_opacity(1.0 if available else 0.5)
        self._show_locks()

    def _show_locks(self) -> None:
        self._lock.set_visible(self.acting.is_locked)
        self._forbidden.set_visible(self.acting.is_forbidden)
        for button in self._acts:
            button.set_sensitive(self.acting.may())
        self._details.refresh()

    def _show_document(self) -> None:
        DocumentWindow(self, self.acting, self._state).present()

    def _told(self, _acting: object, text: str, undo: Callable[[], None] | None) -> None:
        """Tell what was done, in the place of what was told before, unless that can be undone."""
        toast = Adw.Toast(
            title=GLib.markup_escape_text(text), timeout=_TOAST, priority=Adw.ToastPriority.HIGH
        )
        if self._last_toast is not None and not self._last_toast.get_button_label():
            self._last_toast.dismiss()
        self._last_toast = toast
        if undo is not None:
            toast.set_button_label(_("Undo"))
            toast.connect("button-clicked", lambda _: undo())
        self._toasts.add_toast(toast)

    def _toast(self, sentence: str) -> None:
        self._told(None, sentence, None)


def _do(doing: Callable[[], None], *_: object) -> bool:
    doing()
    return True
