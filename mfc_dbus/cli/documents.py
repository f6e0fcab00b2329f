"""Files that hold route documents: read, with what is wrong told by file and line."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mfc_dbus import document
from mfc_dbus.cli.status import complain
from mfc_dbus.document import Document
from mfc_dbus.errors import InvalidArgs
from mfc_dbus.problems import with_lines

_LINE = re.compile(r"line (\d+): ")
_LARGE = 1024 * 1024  # bytes that take long enough to say so


class File:
    """A document's text; its format is plain from how it begins."""

    def __init__(self, name: str) -> None:
        """name: of the file, "-" for the standard input. Raises OSError, InvalidArgs."""
        self._name = "stdin" if name == "-" else name
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        self.large = len(data) > _LARGE
        try:
            self.text = data.decode()
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise InvalidArgs(f"{self._name}:{line}: It is not valid UTF-8") from None
        self._json = self.text.lstrip().startswith("{")

    def parse(self) -> Document:
        """Raises InvalidArgs."""
        read = document.from_json if self._json else document.from_toml
        return read(self.text)

    def complain(self, problems: str) -> None:
        """Tell of each problem where it is."""
        located = problems if self._json else with_lines(problems, self.text)
        for problem in located.split("\n"):
            line = _LINE.match(problem)
            where = f"{self._name}:{line[1]}" if line else self._name
            complain(f"{where}: {problem[line.end() :] if line else problem}")


@contextmanager
def progress(text: str, *, shown: bool) -> Iterator[None]:
    """Show on a terminal that something goes on."""
    if not shown or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield
