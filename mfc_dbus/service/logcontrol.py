"""org.freedesktop.LogControl1: what `systemctl service-log-level` reads and sets."""

import logging
import os
from collections.abc import Callable

from mfc_dbus.bus.backend import Body, Variant
from mfc_dbus.bus.errors import BusError
from mfc_dbus.bus.names import ERROR
from mfc_dbus.model.errors import InvalidArgs
from mfc_dbus.model.quoting import join, quote
from mfc_dbus.service import journal

INTERFACE = "org.freedesktop.LogControl1"
OBJECT_PATH = "/org/freedesktop/LogControl1"
IDENTIFIER = "mfc-dbusd"
_STDERR = 2

# syslog(3) has more levels than logging has: each stands for the nearest one of these.
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


class LogControl:
    """The properties of the log, of which the level alone can be set."""

    interface = INTERFACE

    def get(self, name: str) -> Body:
        """Return a property's value. Raises BusError."""
        return [self._read(name)]

    def get_all(self) -> Body:
        return [{name: self._read(name) for name in ("LogLevel", "LogTarget", "SyslogIdentifier")}]

    def prepare_set(self, name: str, value: Variant) -> Callable[[], Body]:
        """Check a new value of a property. Return what sets it. Raises BusError, InvalidArgs."""
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
    """Begins each line with its priority."""

    def format(self, record: logging.LogRecord) -> str:
        return journal.with_priority(record, super().format(record))


def begin(level: int) -> None:
    """Have the program log to the journal, where standard error leads there, or to that."""
    # Each change is a line. Where in the program that is written, and by whom, it does not say: to
    # find that out costs as much as the line (logging's documentation, "Optimization").
    logging._srcfile = None  # noqa: SLF001 - as documented there
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.basicConfig(handlers=[_handler()], level=level)


def _handler() -> logging.Handler:
    if journal.leads_to_journal(_STDERR, os.environ):
        try:
            return journal.JournalHandler(IDENTIFIER)
        except OSError:
            pass  # its stream takes lines all the same
    handler = logging.StreamHandler()
    handler.setFormatter(
        _JournalFormatter("%(message)s")
        if _in_journal()
        else logging.Formatter("%(levelname)s: %(message)s")
    )
    return handler


def _in_journal() -> bool:
    return "JOURNAL_STREAM" in os.environ
