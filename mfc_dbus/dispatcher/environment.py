"""What a script gets of an event beside its JSON: its arguments and its environment (pure).

Strings of the bus are anybody's: what could end or fake a line is replaced, and all is bounded.
The JSON has them as they are.
"""

from collections.abc import Iterable

from mfc_dbus.dispatcher.events import Event, Value

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MAX_VALUE = 16 * 1024  # characters; the kernel takes 128 KiB for one string (MAX_ARG_STRLEN)
# By the names in a script's environment, what of a value they have.
_FIELDS = {
    "MFC_SOURCE": ("source",),
    "MFC_GROUP": ("group",),
    "MFC_IIF": ("iif",),
    "MFC_OIFS": ("oifs",),
    "MFC_STATE": ("state",),
    "MFC_REASON": ("reason",),
    "MFC_TABLE": ("table",),
    "MFC_COMMENT": ("comment",),
    "MFC_INTERFACE": ("interface", "name"),
}
VARIABLES = (
    "MFC_ACTION",
    *_FIELDS,
    "MFC_OLD_STATE",
    "MFC_GENERATION",
    "MFC_CAUSE",
    "MFC_UID",
    "MFC_USER",
)


def arguments(event: Event) -> tuple[str, str]:
    return clean(event.subject), event.action


def environment(event: Event) -> dict[str, str]:
    """Return all of VARIABLES, empty where an event has no such thing."""
    cause = event.cause
    values = {
        "MFC_ACTION": event.action,
        **{name: _first(event.told, fields) for name, fields in _FIELDS.items()},
        "MFC_OLD_STATE": _first(event.old or {}, ["state"]),
        "MFC_GENERATION": "" if event.generation is None else str(event.generation),
        "MFC_CAUSE": cause.cause if cause else "",
        "MFC_UID": "" if cause is None or cause.uid is None else str(cause.uid),
        "MFC_USER": cause.user if cause else "",
    }
    return {name: clean(value) for name, value in values.items()}


def clean(text: str) -> str:
    """Make a text fit for one line of a script's."""
    text = text[:_MAX_VALUE]
    if not text.isprintable():
        text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return text


def _first(value: Value, names: Iterable[str]) -> str:
    """Return the first of these that a value has, as text."""
    found = next((value[name] for name in names if name in value), "")
    if isinstance(found, list | tuple):
        return " ".join(map(str, found))
    return str(found)
