"""Ansible, with the collection of this checkout."""

import contextlib
import os
import subprocess
from pathlib import Path

from lab.daemon import PROGRAMS
from lab.installed import TOP
from lab.netns import Namespace

COLLECTION = TOP / "data/ansible"
NAME = "example.multicast_forwarding"
_TIMEOUT = 250.0


class Ansible:
    """Its programs, with the collection as ansible-galaxy builds and installs it.

    directory: what it writes stays there. namespace: where it runs. collections: what is installed.
    """

    def __init__(self, directory: Path, namespace: Namespace | None = None) -> None:
        self._directory = directory
        self.collections = directory / "collections"
        self.repository = directory / "fleet"
        self.repository.mkdir()
        self._namespace = namespace
        self._environment = {
            "ANSIBLE_COLLECTIONS_PATH": str(self.collections),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PRIVATE_KEY_FILE": str(directory / "key"),
            "ANSIBLE_SSH_COMMON_ARGS": f"-F none -o UserKnownHostsFile={directory / 'known_hosts'}",
            "HOME": str(directory),
            "LANG": "C.UTF-8",
            "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
        }
        built = ("ansible-galaxy", "collection", "build", "--output-path", str(directory))
        self.run(*built, str(COLLECTION))
        (archive,) = directory.glob("*.tar.gz")
        self.run("ansible-galaxy", "collection", "install", "--offline", str(archive))

    def run(
        self, *command: str, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the repository; stdout has stderr too."""
        with self._namespace or contextlib.nullcontext():
            done = subprocess.run(
                command,
                cwd=self.repository,
                env=self._environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=_TIMEOUT,
            )
        for path in self._directory.glob(".ansible/cp/*"):
            # A connection waits for a minute for the next one.
            stop = ["ssh", "-O", "exit", "-o", f"ControlPath={path}", "any"]
            subprocess.run(stop, capture_output=True)
        if check and done.returncode:
            raise OSError(f"{' '.join(command)}: status {done.returncode}: {done.stdout}")
        return done
