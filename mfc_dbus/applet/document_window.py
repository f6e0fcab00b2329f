"""All routes and memberships as a document: to edit, open and save, and to apply when the
difference has been seen."""

from typing import Any

from gi.repository import Adw, Gio, GLib, Gtk

from mfc_dbus.applet.acting import Acting
from mfc_dbus.applet.documents import Proposal, export, propose
from mfc_dbus.applet.state import State
from mfc_dbus.applet.translation import _
from mfc_dbus.applet.widgets import CheckBox, clear, name, paragraph, text_button, vertical

_LATER = 300  # milliseconds after the last key until the text is read
_MOST_LINES = 200  # of the difference that are shown
_MOST_ENTRIES = 5000  # of which the text is shown at once


class DocumentWindow(Adw.Window):
    """The document's text, and below it what it would change."""

    def __init__(self, parent: Gtk.Window, acting: Acting, state: State) -> None:
        super().__init__(
            transient_for=parent,
            modal=True,
            title=_("Routes as a Document"),
            default_width=760,
            default_height=680,
        )
        self._acting = acting
        self._state = state
        self._later = 0
        self._proposal: Proposal | None = None
        self._chooser: Gtk.FileChooserNative | None = None
        header = Adw.HeaderBar(show_end_title_buttons=False, show_start_title_buttons=False)
        header.pack_start(text_button(_("Close"), self.close))
        header.pack_start(text_button(_("Open…"), self._open))
        header.pack_start(text_button(_("Save…"), self._save))
        self._apply = text_button(_("Apply"), self._do, "suggested-action")
        header.pack_end(self._apply)
        self._text = Gtk.TextView(
            monospace=True,
            top_margin=12,
            bottom_margin=12,
            left_margin=12,
            right_margin=12,
            accepts_tab=False,
        )
        name(self._text, _("The document"))
        self._text.get_buffer().connect("changed", lambda _: self._look_later())
        self._merge = CheckBox(label=_("Add and change only, delete nothing"))
        self._merge.connect("toggled", lambda _: self._look())
        self._difference = vertical(
            4, margin_start=18, margin_end=18, margin_top=12, margin_bottom=12
        )
        below = vertical(6)
        self._merge.set_margin_start(12)
        self._merge.set_margin_top(8)
        below.append(self._merge)
        below.append(
            Gtk.ScrolledWindow(
                child=self._difference, vexpand=True, hscrollbar_policy=Gtk.PolicyType.NEVER
            )
        )
        paned = Gtk.Paned(
            orientation=Gtk.Orientation.VERTICAL,
            start_child=Gtk.ScrolledWindow(child=self._text),
            end_child=below,
            position=360,
            vexpand=True,
        )
        content = vertical()
        content.append(header)
        content.append(paned)
        self.set_content(content)
        if len(state.routes) + len(state.memberships) <= _MOST_ENTRIES:
            self._text.get_buffer().set_text(export(state, as_json=False))
        self._look()

    def _look_later(self) -> None:
        if self._later:
            GLib.source_remove(self._later)
        self._later = GLib.timeout_add(_LATER, self._look)

    def _look(self) -> bool:
        """Say what the document would change, or what is wrong with it."""
        self._later = 0
        text = self._text.get_buffer().props.text
        self._proposal = propose(self._state, text, merge=self._merge.get_active())
        self._show(self._proposal)
        return GLib.SOURCE_REMOVE

    def _show(self, proposal: Proposal) -> None:
        clear(self._difference)
        self._apply.set_sensitive(proposal.is_change and self._acting.may())
        for line in proposal.problems[:_MOST_LINES]:
            self._difference.append(paragraph(line, "error"))
        for line in proposal.lines[:_MOST_LINES]:
            tone = {"+": "success", "~": "warning", "−": "error"}[line[0]]
            self._difference.append(paragraph(line, tone, "monospace"))
        more = len(proposal.lines) + len(proposal.problems) - _MOST_LINES
        if more > 0:
            self._difference.append(paragraph(_("and {count} more").format(count=more)))
        if not proposal.lines and not proposal.problems:
            self._difference.append(paragraph(_("It changes nothing."), "dim-label"))

    def _do(self) -> None:
        """Have the service try it first, and then do it."""
        assert self._proposal is not None
        self._apply.set_sensitive(False)
        document = self._proposal.document
        options = {"merge": True} if self._merge.get_active() else {}

        def tried(_numbers: Any, failure: str) -> None:
            if failure:
                self._show(Proposal((), failure.splitlines(), "", False))
            else:
                self._acting.apply(document, options, applied)

        def applied(numbers: Any, failure: str) -> None:
            if failure:
                self._show(Proposal((), failure.splitlines(), "", False))
                return
            added, changed, deleted = numbers
            told = _("Applied: {added} added, {changed} changed, {deleted} deleted")
            numbers_ = {"added": added, "changed": changed, "deleted": deleted}
            self._acting.emit("told", told.format(**numbers_), None)
            self.close()

        self._acting.apply(document, options | {"dry-run": True}, tried)

    def _open(self) -> None:
        self._choose(Gtk.FileChooserAction.OPEN, _("Open a Document"), self._opened)

    def _save(self) -> None:
        self._choose(Gtk.FileChooserAction.SAVE, _("Save the Routes"), self._saved)

    def _choose(self, action: Gtk.FileChooserAction, title: str, chosen: Any) -> None:
        self._chooser = Gtk.FileChooserNative(
            title=title, transient_for=self, action=action, modal=True
        )
        if action is Gtk.FileChooserAction.SAVE:
            self._chooser.set_current_name("routes.toml")
        self._chooser.connect("response", chosen)
        self._chooser.show()

    def _opened(self, chooser: Gtk.FileChooserNative, response: int) -> None:
        if response == Gtk.ResponseType.ACCEPT:
            chooser.get_file().load_contents_async(None, self._loaded)

    def _loaded(self, file: Gio.File, result: Gio.AsyncResult) -> None:
        try:
            _success, content, _etag = file.load_contents_finish(result)
        except GLib.Error as error:
            self._show(Proposal((), [error.message], "", False))
            return
        self._text.get_buffer().set_text(content.decode(errors="replace"))

    def _saved(self, chooser: Gtk.FileChooserNative, response: int) -> None:
        if response != Gtk.ResponseType.ACCEPT:
            return
        file = chooser.get_file()
        as_json = (file.get_basename() or "").endswith(".json")
        content = GLib.Bytes(export(self._state, as_json=as_json).encode())
        flags = Gio.FileCreateFlags.NONE
        file.replace_contents_bytes_async(content, None, False, flags, None, self._written)

    def _written(self, file: Gio.File, result: Gio.AsyncResult) -> None:
        try:
            file.replace_contents_finish(result)
        except GLib.Error as error:
            self._show(Proposal((), [error.message], "", False))
        else:
            told = _("Saved {file}").format(file=file.get_basename())
            self._acting.emit("told", told, None)
