"""The terminal of `top`: lines go onto it, and keys come from it by their names."""

import curses
import locale
import os
import select
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from mfc_dbus.cli.top_view import Line

_ESCAPE_DELAY = 25  # milliseconds in which an escape may begin the sequence of a key
_STYLES = {"": curses.A_NORMAL, "bold": curses.A_BOLD, "reverse": curses.A_REVERSE}
_KEYS: dict[str | int, str] = {
    curses.KEY_UP: "up",
    curses.KEY_DOWN: "down",
    curses.KEY_PPAGE: "page-up",
    curses.KEY_NPAGE: "page-down",
    curses.KEY_HOME: "home",
    curses.KEY_END: "end",
    curses.KEY_ENTER: "enter",
    curses.KEY_BACKSPACE: "backspace",
    "\n": "enter",
    "\r": "enter",
    "\x7f": "backspace",
    "\b": "backspace",
    "\x1b": "escape",
}


class Screen:
    """The terminal of this process, as a context. Raises curses.error where it can show none."""

    def __init__(self) -> None:
        locale.setlocale(locale.LC_CTYPE, "")
        curses.setupterm()  # raises where initscr would end the process
        self._window = curses.initscr()

    def __enter__(self) -> Self:
        curses.noecho()
        curses.cbreak()
        curses.set_escdelay(_ESCAPE_DELAY)
        self._window.keypad(True)
        self._window.nodelay(True)
        with suppress(curses.error):  # not every terminal can hide its cursor
            curses.curs_set(0)
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        curses.endwin()

    @property
    def size(self) -> tuple[int, int]:
        """Its width and height."""
        height, width = self._window.getmaxyx()
        return width, height

    @property
    def is_gone(self) -> bool:
        """Whether the terminal has hung up."""
        poll = select.poll()
        poll.register(sys.stdin.fileno(), 0)
        return bool(poll.poll(0))

    def resize(self) -> None:
        """Take the size that the terminal has now."""
        width, height = os.get_terminal_size(sys.stdout.fileno())
        curses.resizeterm(height, width)

    def draw(self, lines: Sequence[Line]) -> None:
        self._window.erase()
        for row, (text, style) in enumerate(lines):
            # At its end the last line of all moves the cursor where it cannot be.
            with suppress(curses.error):
                self._window.addstr(row, 0, text, _STYLES[style])
        self._window.refresh()

    def read_keys(self) -> list[str]:
        """Return the keys that were pressed meanwhile: characters, or names such as "up"."""
        found = []
        with suppress(curses.error):  # there are no more
            while True:
                key = self._window.get_wch()
                name = _KEYS.get(key, key)
                if isinstance(name, str):
                    found.append(name)
        return found
