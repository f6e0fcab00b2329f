"""The level of the log, in the words of syslog and systemd."""

import contextlib
import io
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from mfc_dbus.bus.backend import Variant
from mfc_dbus.bus.errors import BusError
from mfc_dbus.model.errors import InvalidArgs
from mfc_dbus.service import logcontrol
from mfc_dbus.service.logcontrol import LogControl

STANDARD = "org.freedesktop.DBus.Error"
LEVELS = {
    "debug": ("debug", logging.DEBUG),
    "info": ("info", logging.INFO),
    "notice": ("info", logging.INFO),
    "warning": ("warning", logging.WARNING),
    "err": ("err", logging.ERROR),
    "crit": ("crit", logging.CRITICAL),
    "alert": ("crit", logging.CRITICAL),
    "emerg": ("crit", logging.CRITICAL),
}


@pytest.fixture(autouse=True)
def root_logger(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    """The one of this process, with the level of a daemon's."""
    root = logging.getLogger()
    level = root.level
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    root.setLevel(logging.INFO)
    yield root
    root.setLevel(level)


def read(name: str) -> Any:
    (variant,) = LogControl().get(name)
    assert isinstance(variant, Variant)
    return variant.value


@pytest.mark.parametrize(
    "value",
    [
        Variant("s", "loud"),
        Variant("s", ""),
        Variant("s", "DEBUG"),
        Variant("s", "debug "),
        Variant("s", "7"),
        Variant("u", 7),
        Variant("as", ["debug"]),
        Variant("v", Variant("s", "debug")),
    ],
    ids=str,
)
def test_what_is_no_level_is_refused_and_the_levels_are_named(
    value: Variant, root_logger: logging.Logger
) -> None:
    levels = ", ".join(map(repr, LEVELS))
    with pytest.raises(InvalidArgs, match=f"^LogLevel is one of {levels}$"):
        LogControl().prepare_set("LogLevel", value)
    assert root_logger.level == logging.INFO


@pytest.mark.parametrize("name", ["LogTarget", "SyslogIdentifier"])
def test_nothing_else_can_be_set(name: str) -> None:
    with pytest.raises(BusError, match=f"'{name}' is read-only") as error:
        LogControl().prepare_set(name, Variant("s", "journal"))
    assert error.value.name == f"{STANDARD}.PropertyReadOnly"


def test_what_there_is_not_is_neither_read_nor_set() -> None:
    for attempt in (
        LogControl().get,
        lambda name: LogControl().prepare_set(name, Variant("s", "")),
    ):
        with pytest.raises(BusError, match="There is no property 'LogColour'") as error:
            attempt("LogColour")
        assert error.value.name == f"{STANDARD}.UnknownProperty"


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_of_syslog_is_the_one_next_to_it(
    level: str, root_logger: logging.Logger
) -> None:
    shown, number = LEVELS[level]
    write = LogControl().prepare_set("LogLevel", Variant("s", level))
    assert root_logger.level == logging.INFO, "it is set when the caller was authorised"
    assert write() == ()
    assert root_logger.level == number
    assert read("LogLevel") == shown


def test_the_target_and_the_name_are_those_of_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read("SyslogIdentifier") == "mfc-dbusd"
    assert read("LogTarget") == "console"
    monkeypatch.setenv("JOURNAL_STREAM", "8:1234")
    assert read("LogTarget") == "journal"


def logged(monkeypatch: pytest.MonkeyPatch, level: int) -> list[str]:
    """The lines that come of the same messages when the log begins with this level."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # but for pytest's
    stream = io.StringIO()
    with contextlib.redirect_stderr(stream):
        logcontrol.begin(level)
    log = logging.getLogger("mfc_dbus.test")
    log.debug("a question")
    log.info("a %s", "remark")
    log.warning("a warning\nof two lines")
    log.error("an error")
    log.critical("the end")
    return stream.getvalue().splitlines()


def test_a_terminal_gets_the_level_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert logged(monkeypatch, logging.INFO) == [
        "INFO: a remark",
        "WARNING: a warning",
        "of two lines",
        "ERROR: an error",
        "CRITICAL: the end",
    ]


def test_the_journal_gets_the_priority_of_each_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1234")
    assert logged(monkeypatch, logging.DEBUG) == [
        "<7>a question",
        "<6>a remark",
        "<4>a warning",
        "<4>of two lines",
        "<3>an error",
        "<2>the end",
    ]
