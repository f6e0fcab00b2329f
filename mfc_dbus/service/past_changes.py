"""ListChanges: the history, for whoever wants to know what was changed, or have it back."""

from collections.abc import Mapping, Sequence
from typing import Any

from mfc_dbus.bus.backend import Variant
from mfc_dbus.control.history import History
from mfc_dbus.documents.document import join_json, write_entry
from mfc_dbus.loop.slices import in_slices
from mfc_dbus.model.addresses import format_address, format_source, source_prefix
from mfc_dbus.model.desired import Desired
from mfc_dbus.model.history import PastChange
from mfc_dbus.model.route import Route

OPTIONS = {"number": "t", "before": "t", "uid": "u", "limit": "u"}

_MOST = 100


async def list_changes(history: History, chosen: Mapping[str, Any]) -> Sequence[Any]:
    """Return the last changes, the last one first, and how many of these there are in all.

    chosen: the values of OPTIONS. A change that is asked for by its number has the documents of
    before and after. Others are served in between.
    """
    number, before, uid = (chosen.get(name) for name in ("number", "before", "uid"))
    undone = history.undone_by()
    found = [
        change
        for change in history
        if number in (None, change.number)
        and uid in (None, change.uid)
        and (before is None or change.number < before)
    ]
    shown = found[: min(chosen.get("limit", _MOST), _MOST)]
    described = []
    async for change in in_slices(shown):
        told = _describe(change, undone.get(change.number, 0))
        if number is not None:
            told["before"] = Variant("s", await _document([edit.old for edit in change.edits]))
            told["after"] = Variant("s", await _document([edit.new for edit in change.edits]))
        described.append(told)
    return [described, len(found)]


def _describe(change: PastChange, undone_by: int) -> dict[str, Variant]:
    described = {
        "number": Variant("t", change.number),
        "time": Variant("t", change.when),
        "uid": Variant("u", change.uid),
        "user": Variant("s", change.user),
        "action": Variant("s", change.act),
        "added": Variant("u", change.added),
        "changed": Variant("u", change.changed),
        "deleted": Variant("u", change.deleted),
        "kept": Variant("b", change.is_kept),
    }
    if change.undoes:
        described["undoes"] = Variant("t", change.undoes)
    if undone_by:
        described["undone-by"] = Variant("t", undone_by)
    if len(change.edits) == 1:
        (edit,) = change.edits
        described |= _name(edit.new or edit.old)
    return described


def _name(what: Desired | None) -> dict[str, Variant]:
    """Name the only route or membership of a change."""
    if isinstance(what, Route):
        return {
            "source": Variant("s", format_source(what.source)),
            "group": Variant("s", str(what.group)),
            "iif": Variant("s", what.iif),
            "table": Variant("u", what.table),
        }
    assert what is not None
    return {
        "source": Variant("s", format_source(source_prefix(what.source))),
        "group": Variant("s", format_address(what.group)),
        "interface": Variant("s", what.interface),
    }


async def _document(values: Sequence[Desired | None]) -> str:
    sections: dict[str, list[bytes]] = {"route": [], "membership": []}
    async for value in in_slices(values):
        if value is not None:
            section, entry = write_entry(value)
            sections[section].append(entry)
    return join_json(sections).decode()
