"""org.freedesktop.LogControl1: what `systemctl service-log-level` reads and sets."""

import logging
import os
from collections.abc import Callable

from mfc_dbus.bus.backend import Body, Variant
from mfc_dbus.bus.errors import BusError
from mfc_dbus.bus.names import ERROR
from mfc_dbus.model.errors import InvalidArgs
from mfc_dbus.model.quoting import join, quote

INTERFACE = "org.freedesktop.LogControl1"
OBJECT_PATH = "/org/freedesktop/LogControl1"
IDENTIFIER = "mfc-dbusd"

# syslog(3) has more levels than logging: each of them by the one that is next to it.
_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "notice": logging.INFO,
    "warning": logging.WARNING,
    "err": logging.ERROR,
    "crit": logging.CRITICAL,
    "alert": logging.CRITICAL,
    "emerg": logging.CRITICAL,
}
_PRIORITIES = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}


class LogControl:
    """The properties of the log; the level can be set."""

    interface = INTERFACE

    def get(self, name: str) -> Body:
        """Encode a property's value, as a variant."""
        return [self._read(name)]

    def get_all(self) -> Body:
        return [{name: self._read(name) for name in ("LogLevel", "LogTarget", "SyslogIdentifier")}]

    def prepare_set(self, name: str, value: Variant) -> Callable[[], Body]:
        """Check a new value of a property; what sets it. Raises BusError, InvalidArgs."""
        self._read(name)
        if name != "LogLevel":
            raise BusError(f"{ERROR}.PropertyReadOnly", f"Property {quote(name)} is read-only")
        if value.signature != "s" or value.value not in _LEVELS:
            raise InvalidArgs(f"LogLevel is one of {join(_LEVELS)}")
        level = _LEVELS[value.value]

        def write() -> Body:
            logging.getLogger().setLevel(level)
            return ()

        return write

    def _read(self, name: str) -> Variant:
        if name == "LogLevel":
            level = logging.getLogger().level
            return Variant("s", next(key for key, value in _LEVELS.items() if value == level))
        if name == "LogTarget":
            return Variant("s", "journal" if _in_journal() else "console")
        if name == "SyslogIdentifier":
            return Variant("s", IDENTIFIER)
        raise BusError(f"{ERROR}.UnknownProperty", f"There is no property {quote(name)}")


class _JournalFormatter(logging.Formatter):
    """Puts the priority in front, as the journal reads it from standard error (sd-daemon(3))."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{_PRIORITIES.get(record.levelno, 6)}>"
        return "\n".join(prefix + line for line in super().format(record).splitlines())


def begin(level: int) -> None:
    """Let the program's log go to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        _JournalFormatter("%(message)s")
        if _in_journal()
        else logging.Formatter("%(levelname)s: %(message)s")
    )
    logging.basicConfig(handlers=[handler], level=level)


def _in_journal() -> bool:
    return "JOURNAL_STREAM" in os.environ
