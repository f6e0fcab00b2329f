"""Reads files of route documents, and reports their problems by file and line."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mfc_dbus.cli.status import complain
from mfc_dbus.documents import document, text_files
from mfc_dbus.documents.document import Document
from mfc_dbus.documents.problem_lines import with_lines
from mfc_dbus.model.errors import InvalidArgs
from mfc_dbus.model.problems import Problem

# Names of descriptors that are open already, and may be pipes: a shell writes <(program) so.
_DESCRIPTOR = re.compile(r"-|/dev/stdin|/dev/fd/(\d{1,9})", re.ASCII)
_LARGE = 1024 * 1024  # bytes, above which progress is shown


class File:
    """The text of a document: JSON where it begins with "{", and TOML otherwise."""

    def __init__(self, name: str) -> None:
        """name: of the file, "-" for the standard input. Raises OSError, InvalidArgs."""
        self._name = "stdin" if name == "-" else name
        data = read_given(name)
        self.large = len(data) > _LARGE
        try:
            self.text = text_files.decode(data)
        except InvalidArgs as error:
            raise InvalidArgs(str(Problem.read(self._name, str(error)))) from None
        self._json = _is_json(self.text)

    def parse(self) -> Document:
        """Parse the text. Raises InvalidArgs."""
        return parse(self.text)

    def problems(self, problems: str) -> list[Problem]:
        """Split a text into problems, a line each, which begins with the problem's path."""
        located = problems if self._json else with_lines(problems, self.text)
        return [Problem.read(self._name, problem) for problem in located.split("\n")]

    def complain(self, problems: str, *, as_json: bool = False) -> None:
        """Write each problem to stderr, with the file and the line where it is."""
        for problem in self.problems(problems):
            complain_of(problem, as_json=as_json)


def parse(text: str) -> Document:
    """Read a document; which of the two forms it has is plain from its text. Raises InvalidArgs."""
    return document.from_json(text) if _is_json(text) else document.from_toml(text)


def _is_json(text: str) -> bool:
    return text.lstrip().startswith("{")


def complain_of(problem: Problem, *, as_json: bool) -> None:
    if as_json:
        where = {"file": problem.file, "line": problem.line}
        complain(problem.sentence, error="InvalidArgs", as_json=True, **where)
    else:
        complain(str(problem))


def read_given(name: str, limit: int = text_files.MAX_BYTES) -> bytes:
    """Read the file of an argument, "-" for the standard input. Raises OSError.

    limit: the most bytes that it may have.
    """
    descriptor = _DESCRIPTOR.fullmatch(name)
    if descriptor is None:
        return text_files.read(Path(name), limit)
    shown = "stdin" if name == "-" else name
    return text_files.read_descriptor(int(descriptor[1] or 0), shown, limit)


@contextmanager
def progress(text: str, *, shown: bool) -> Iterator[None]:
    """Show on a terminal that something goes on, if `shown`."""
    if not shown or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield
