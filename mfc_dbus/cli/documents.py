"""Files that hold route documents: read, with what is wrong told by file and line."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mfc_dbus.cli.status import complain
from mfc_dbus.documents import document
from mfc_dbus.documents import text_files as textfiles
from mfc_dbus.documents.document import Document
from mfc_dbus.documents.problem_lines import with_lines
from mfc_dbus.model.errors import InvalidArgs

# What is open already, and may be a pipe: a shell names it so for <(program).
_DESCRIPTOR = re.compile(r"-|/dev/stdin|/dev/fd/(\d{1,9})", re.ASCII)
_LINE = re.compile(r"line (\d+): ")
_LARGE = 1024 * 1024  # bytes that take long enough to say so


class File:
    """A document's text; its format is plain from how it begins."""

    def __init__(self, name: str) -> None:
        """name: of the file, "-" for the standard input. Raises OSError, InvalidArgs."""
        self._name = "stdin" if name == "-" else name
        data = read_given(name)
        self.large = len(data) > _LARGE
        try:
            self.text = textfiles.decode(data)
        except InvalidArgs as error:
            raise InvalidArgs(_place(self._name, str(error))) from None
        self._json = self.text.lstrip().startswith("{")

    def parse(self) -> Document:
        """Raises InvalidArgs."""
        read = document.from_json if self._json else document.from_toml
        return read(self.text)

    def complain(self, problems: str) -> None:
        """Tell of each problem where it is."""
        located = problems if self._json else with_lines(problems, self.text)
        for problem in located.split("\n"):
            complain(_place(self._name, problem))


def read_given(name: str) -> bytes:
    """Read the file of an argument, "-" for the standard input. Raises OSError."""
    descriptor = _DESCRIPTOR.fullmatch(name)
    if descriptor is None:
        return textfiles.read(Path(name))
    return textfiles.read_descriptor(int(descriptor[1] or 0), "stdin" if name == "-" else name)


def _place(name: str, problem: str) -> str:
    """Write "line 7: ..." as "file:7: ..."."""
    line = _LINE.match(problem)
    return f"{name}:{line[1]}: {problem[line.end() :]}" if line else f"{name}: {problem}"


@contextmanager
def progress(text: str, *, shown: bool) -> Iterator[None]:
    """Show on a terminal that something goes on."""
    if not shown or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield
