"""Single system calls that fail, in a process that was started with this."""

import ctypes
import errno
import mmap
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

# In the order of faults.c.
CALLS = ("fdatasync", "fsync", "pwrite64", "write", "ftruncate", "unlink", "open", "rename", "any")
ALL = -1


class _Plan(ctypes.Structure):
    _fields_ = (
        ("call", ctypes.c_int),
        ("skip", ctypes.c_int),
        ("failures", ctypes.c_int),
        ("error", ctypes.c_int),
        ("seen", ctypes.c_int),
        ("failed", ctypes.c_int),
        ("path", ctypes.c_char * 240),
    )


class Faults:
    """`environment` is for the process in which calls are to fail."""

    def __init__(self, scratch: Path) -> None:
        """scratch: a directory of its own."""
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler")
        library, shared = scratch / "faults.so", scratch / "faults"
        source = Path(__file__).with_suffix(".c")
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        shared.write_bytes(bytes(mmap.PAGESIZE))
        with shared.open("r+b") as file:
            self._plan = _Plan.from_buffer(mmap.mmap(file.fileno(), 0))
        self.stop()
        self.environment: Mapping[str, str] = {"LD_PRELOAD": str(library), "FAULTS": str(shared)}

    def plan(
        self,
        call: str,
        skip: int = 0,
        failures: int = 1,
        error: int = errno.EIO,
        path: str = "routes.db",
    ) -> None:
        """Let a call fail from now on, on files that have this in their path.

        skip: how many pass before. failures: how many fail then, or ALL.
        """
        self.stop()
        self._plan.path = path.encode()
        self._plan.skip, self._plan.failures, self._plan.error = skip, failures, error
        self._plan.seen = self._plan.failed = 0
        self._plan.call = CALLS.index(call)

    def stop(self) -> None:
        self._plan.call = -1

    @property
    def seen(self) -> int:
        """How many calls there were, failed or not."""
        return int(self._plan.seen)

    @property
    def failed(self) -> int:
        """How many calls have failed of this plan."""
        return int(self._plan.failed)
