"""Why a stream is forwarded or not, as the service explains it, with remedies to press."""

from collections.abc import Callable, Sequence

from gi.repository import Gdk, Gtk

from mfc_dbus.applet import texts
from mfc_dbus.applet.acting import Acting
from mfc_dbus.applet.requests import Request, remedy
from mfc_dbus.applet.translation import _
from mfc_dbus.applet.widgets import clear, icon_button, paragraph, text_button, vertical
from mfc_dbus.client.info import FindingInfo

_ICONS = {
    "ok": ("emblem-ok-symbolic", "success"),
    "note": ("dialog-information-symbolic", "accent"),
    "problem": ("dialog-warning-symbolic", "warning"),
}
_LABELS = {
    "AddRoute": lambda: _("Route It…"),
    "ChangeRoute": lambda: _("Change the Route"),
    "DeleteRoute": lambda: _("Delete the Route"),
    "JoinGroup": lambda: _("Join the Group"),
}


class Explaining(Gtk.Box):
    """A button that asks, and the findings."""

    def __init__(
        self,
        acting: Acting,
        add: Callable[[str, str, str], None],
        source: str,
        group: str,
        iif: str,
    ) -> None:
        super().__init__(orientation=Gtk.Orientation.VERTICAL, spacing=12)
        self._acting = acting
        self._add = add
        self._stream = (source, group, iif)
        self._button = text_button(_("Explain"), self.ask)
        self._spinner = Gtk.Spinner()
        line = Gtk.Box(spacing=12)
        line.append(self._button)
        line.append(self._spinner)
        self._findings = vertical(12)
        self.append(line)
        self.append(self._findings)

    def ask(self) -> None:
        self._button.set_sensitive(False)
        self._spinner.start()
        self._acting.explain(*self._stream, self._answered)

    def _answered(self, findings: Sequence[FindingInfo], failure: str) -> None:
        self._button.set_sensitive(True)
        self._spinner.stop()
        clear(self._findings)
        if failure:
            self._findings.append(paragraph(failure, "error"))
        elif not findings:
            self._findings.append(paragraph(_("Nothing is wrong that could be seen.")))
        for finding in findings:
            self._findings.append(self._make(finding))

    def _make(self, finding: FindingInfo) -> Gtk.Widget:
        icon, tone = _ICONS.get(finding.level, _ICONS["note"])
        box = Gtk.Box(spacing=12, css_classes=["card", "finding"])
        box.append(Gtk.Image(icon_name=icon, css_classes=[tone], valign=Gtk.Align.START))
        texts_ = vertical(8, hexpand=True)
        texts_.append(paragraph(finding.sentence))
        if finding.remedy:
            texts_.append(self._make_remedy(finding.remedy))
        box.append(texts_)
        return box

    def _make_remedy(self, command: str) -> Gtk.Widget:
        box = vertical(8)
        line = Gtk.Box(spacing=6)
        line.append(paragraph(command, "monospace", "caption"))
        line.append(
            icon_button("edit-copy-symbolic", _("Copy the command"), lambda: _copy(command), "flat")
        )
        box.append(line)
        request = remedy(command)
        if request is not None and (request.is_complete or request.member == "AddRoute"):
            button = text_button(_LABELS[request.member](), lambda: self._carry_out(request))
            button.set_halign(Gtk.Align.START)
            button.set_sensitive(self._acting.may(request.action))
            box.append(button)
        return box

    def _carry_out(self, request: Request) -> None:
        source, group, iif = self._stream
        if request.member == "AddRoute":
            asked_iif = request.arguments[2]
            self._add(
                request.arguments[0], request.arguments[1], iif if asked_iif == "IF" else asked_iif
            )
            return
        self._acting.do(request, _("Changed {stream}").format(stream=texts.stream(source, group)))


def _copy(text: str) -> None:
    Gdk.Display.get_default().get_clipboard().set(text)
