"""What give_up_programs_and_tcp takes and leaves, in a child, since it is for good."""

import errno
import mmap
import os
import socket
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from lab.privileges import in_child

from mfc_dbus.kernel.capabilities import drop_all
from mfc_dbus.kernel.landlock import FIRST_WITH_TCP, give_up_programs_and_tcp, version

PROGRAMS = (sys.executable, "/bin/sh")


pytestmark = pytest.mark.skipif(not version(), reason="this kernel has no Landlock")


def given_up(function: Callable[[], None]) -> None:
    def child() -> str:
        drop_all()
        give_up_programs_and_tcp()
        function()
        return "passed"

    assert in_child(child) == "passed"


def refused() -> AbstractContextManager[object]:
    return pytest.raises(PermissionError, check=lambda error: error.errno == errno.EACCES)


def test_no_program_can_be_executed() -> None:
    def execute() -> None:
        for program in PROGRAMS:
            with refused():
                os.execv(program, [program, "-c", ""])

    given_up(execute)


def test_tcp_can_neither_bind_nor_connect(family: socket.AddressFamily) -> None:
    if version() < FIRST_WITH_TCP:
        pytest.skip("this kernel's Landlock knows nothing of TCP")

    def speak() -> None:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            for call in (sock.bind, sock.connect):
                with refused():
                    call(("127.0.0.1" if family == socket.AF_INET else "::1", 5000))

    given_up(speak)


def test_other_sockets_can_be_used_and_libraries_loaded() -> None:
    def work() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
        with Path(PROGRAMS[0]).open("rb") as file:
            mmap.mmap(file.fileno(), 1, prot=mmap.PROT_READ | mmap.PROT_EXEC)

    given_up(work)
