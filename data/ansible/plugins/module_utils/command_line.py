"""Calls mfc-dbus-cli on the managed host: all that the modules need there, beside a Python 3.9."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

DONE = 0
USAGE = 2
NOT_RUNNING = 5
ARGUMENTS: Mapping[str, Any] = {"executable": {"type": "path", "default": "mfc-dbus-cli"}}


class CommandLine:
    """The program, for an AnsibleModule with ARGUMENTS; what goes wrong ends the module."""

    def __init__(self, module: Any) -> None:
        self._module = module
        name = module.params["executable"]
        self._program: str | None = module.get_bin_path(name)

    @property
    def installed(self) -> bool:
        return self._program is not None

    def ask(
        self, *arguments: str, data: str | None = None, accepted: Sequence[int] = (DONE,)
    ) -> Any:
        """Run it, and return the JSON that it writes.

        data: its standard input. accepted: the exit statuses that come with an answer.
        """
        if self._program is None:
            name = self._module.params["executable"]
            self._module.fail_json(msg=f"There is no {name} on this host: is mfc-dbus installed?")
        status, out, err = self._module.run_command(
            [self._program, "--json", "--no-ask-password", *arguments], data=data, binary_data=True
        )
        if status not in accepted or not out:
            problems = [*_problems(err)]
            said = "; ".join(map(sentence, problems)) or f"mfc-dbus-cli ended with status {status}"
            self._module.fail_json(msg=said, rc=status, problems=problems)
        return json.loads(out)


def as_text(document: object) -> str:
    """Return a document as it was written, or in JSON if it came as data of YAML."""
    return document if isinstance(document, str) else json.dumps(document)


def sentence(problem: Mapping[str, Any]) -> str:
    """Write a problem with its file and line, where it has these."""
    where = [str(problem[name]) for name in ("file", "line") if problem.get(name) is not None]
    return ": ".join([":".join(where), problem["message"]] if where else [problem["message"]])


def _problems(stderr: str) -> Iterator[Mapping[str, Any]]:
    """Read what it complains of: a JSON object a line, or lines that nobody foresaw."""
    for line in stderr.splitlines():
        try:
            problem = dict(json.loads(line))
        except ValueError:
            problem = {"error": "", "message": line}
        if problem.get("file") == "stdin":
            problem["file"] = "document"
        yield problem
