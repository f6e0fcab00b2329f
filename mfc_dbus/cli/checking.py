"""What is wrong with documents and with the files of a configuration, found without a service."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mfc_dbus.cli import documents
from mfc_dbus.cli.documents import read_given
from mfc_dbus.config import routes_d, settings
from mfc_dbus.config.settings import Settings
from mfc_dbus.documents import smcroute, text_files
from mfc_dbus.documents.document import Document
from mfc_dbus.documents.problem_lines import with_lines
from mfc_dbus.model.desired import Key
from mfc_dbus.model.errors import InvalidArgs
from mfc_dbus.model.problems import Problem, Problems

Read = TypeVar("Read")


class Checker:
    """Reads files, and collects their problems.

    count: of the files that were read, be they in order or not.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.count = 0

    def check(self, name: str) -> None:
        """Check a file, "-" for the standard input, or a directory like that of the service."""
        path = Path(name)
        if name not in ("", "-") and _is_directory(path):
            before = self.count, len(self.problems)
            self.check_directory(path)
            if (self.count, len(self.problems)) == before:
                what = f"{settings.FILE} nor files {routes_d.DIRECTORY}/*.toml"
                self.problems.append(Problem(name, None, f"It has neither {what}"))
        elif path.name == settings.FILE:
            self._read(name, settings.parse, settings.MAX_BYTES)
        elif path.suffix == ".conf":
            self._check_smcroute(name)
        else:
            self._read(name, _parse_document)

    def check_directory(self, directory: Path) -> None:
        """Check settings and the files of routes.d, each of which must fit the others.

        Without any file all is as by default.
        """
        file = directory / settings.FILE
        known: Settings | None = Settings()
        if not _is_absent(file):
            known = self._read(str(file), settings.parse, settings.MAX_BYTES)
        owners: dict[Key, str] = {}

        def parse(text: str) -> Document:
            document = routes_d.parse(text, owners)
            if known is not None:
                _check_tables(document, known, text)
            return document

        problems: list[str] = []
        for path in routes_d.paths(directory / routes_d.DIRECTORY, problems):
            document = self._read(str(path), parse)
            if document is not None:
                owners |= dict.fromkeys(routes_d.keys(document), str(path))
        self.problems += [Problem(str(directory), None, each) for each in problems]

    def _check_smcroute(self, name: str) -> None:
        def parse(text: str) -> None:
            imported = smcroute.read(name, text)
            self.problems += imported.left_out
            if imported.more:
                self.problems.append(
                    Problem(name, None, f"{imported.more} more lines have problems")
                )

        # As smcroute does, it takes any bytes in comments.
        self._read(name, parse, decode=lambda data: data.decode(errors="replace"))

    def _read(
        self,
        name: str,
        parse: Callable[[str], Read],
        limit: int = text_files.MAX_BYTES,
        decode: Callable[[bytes], str] = text_files.decode,
    ) -> Read | None:
        """Read a file of at most so many bytes. Returns None where it has problems."""
        self.count += 1
        shown = "stdin" if name == "-" else name
        try:
            return parse(decode(read_given(name, limit)))
        except OSError as error:
            self.problems.append(Problem(shown, None, error.strerror or str(error)))
        except InvalidArgs as error:
            self.problems += [Problem.read(shown, line) for line in str(error).split("\n")]
        return None


def _is_directory(path: Path) -> bool:
    """Tell whether this is a directory; what cannot be found out is a problem of a file."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _is_absent(path: Path) -> bool:
    try:
        path.stat()
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    return False


def _parse_document(text: str) -> Document:
    """Read what `apply` takes. Raises InvalidArgs."""
    document = documents.parse(text)
    if document.empty:
        raise InvalidArgs("It has no routes and no memberships: apply takes it with --empty alone")
    return document


def _check_tables(document: Document, known: Settings, text: str) -> None:
    """Raise InvalidArgs for routes of tables that the settings do not have."""
    problems = Problems()
    for index, route in enumerate(document.routes):
        if route.table_id not in known.tables:
            sentence = f"There is no table {route.table_id} in the configuration's 'tables'"
            problems.add(("route", index), InvalidArgs(sentence))
    try:
        problems.check()
    except InvalidArgs as error:
        raise InvalidArgs(with_lines(str(error), text)) from None
