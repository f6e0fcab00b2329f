"""Lets the user edit a text, in a file of its own, and answer questions."""

import errno
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

_EDITOR = "vi"  # where nobody has said which


class Draft:
    """The text, in a file that only its user can read."""

    def __init__(self, text: str, name: str) -> None:
        """name: of the file; by its ending an editor knows the language."""
        self._text = text
        self._directory = tempfile.mkdtemp(prefix="mfc-dbus-")
        self.path = Path(self._directory, name)
        try:
            self.path.write_text(text, encoding="utf-8")
        except OSError as error:
            self.discard()
            raise OSError(error.errno, error.strerror, str(self.path)) from error

    def edit(self) -> None:
        """Run the editor until the user has left it. Raises OSError where it fails."""
        command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or _EDITOR
        try:
            editor = subprocess.Popen([*shlex.split(command), self.path])
        except OSError as error:
            raise OSError(
                error.errno, f"The editor does not start: {error.strerror}", command
            ) from error
        except ValueError as error:
            raise OSError(errno.EINVAL, f"This names no editor: {error}", command) from error
        # Ctrl-C is for the editor, and not for us.
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            status = editor.wait()
        finally:
            signal.signal(signal.SIGINT, handler)
        if status:
            raise OSError(0, f"The editor ended with {status}", command)

    @property
    def changed(self) -> bool:
        """Whether the file has another text than in the beginning."""
        try:
            return self.path.read_bytes() != self._text.encode()
        except OSError:
            return False

    def discard(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)


def ask(question: str, answers: str, default: str) -> str:
    """Return the one of these letters that the user answers; the last at the end of the input.

    default: the answer where the input is no terminal.
    """
    if not sys.stdin.isatty():
        return default
    while True:
        print(question, end="", flush=True)
        line = sys.stdin.readline()
        answer = line.strip().lower()[:1]
        if not line:
            print()
            return answers[-1]
        if answer and answer in answers:
            return answer
