"""A program that tries what the daemon never does, and prints as JSON what the kernel answers.

It stands alone, to be run in the daemon's place (--as-daemon: once that has started and given up
what it can) and outside. Arguments are such that nothing comes of a call that is not denied, and
that the kernel answers root by another error than a sandbox does. Each is tried in a child.
"""

import asyncio
import errno
import functools
import json
import mmap
import os
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from cffi import FFI

_NULL, _BAD_FD, _NO_TYPE, _MANY = 0, -1, 15, 1 << 20
_FAMILIES = 45  # that every kernel knows
_USED_FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)
_SIGCHLD, _CLONE_NEWUSER = 17, 1 << 28
_PER_LINUX32 = 8


class Attempt(NamedTuple):
    """Something to try; the errors of which one is the answer of the sandbox.

    by_unit: whether the unit alone denies it, and the daemon has nothing to give up for it.
    """

    name: str
    denials: tuple[str, ...]
    run: Callable[[], None]
    by_unit: bool = True


CALLS: dict[str, tuple[int, ...]] = {
    "userfaultfd": (0,),
    "io_uring_setup": (0, _NULL),
    "io_uring_enter": (_BAD_FD, 0, 0, 0, _NULL, 0),
    "io_uring_register": (_BAD_FD, 0, _NULL, 0),
    "ptrace": (0, 0, 0, 0),  # PTRACE_TRACEME
    "process_vm_readv": (0, _NULL, 0, _NULL, 0, 0),
    "pidfd_getfd": (_BAD_FD, 0, 0),
    "bpf": (-1, _NULL, 0),
    "perf_event_open": (_NULL, 0, 0, -1, 0),
    "keyctl": (-1, 0, 0, 0, 0),
    "add_key": (_NULL, _NULL, _NULL, 0, 0),
    "mount": (_NULL, _NULL, _NULL, 0, _NULL),
    "umount2": (_NULL, 0),
    "fsopen": (_NULL, 0),
    "pivot_root": (_NULL, _NULL),
    "chroot": (_NULL,),
    "open_by_handle_at": (_BAD_FD, _NULL, 0),
    "unshare": (_CLONE_NEWUSER,),
    "clone": (_CLONE_NEWUSER | _SIGCHLD, _NULL, _NULL, _NULL, _NULL),
    "setns": (_BAD_FD, 0),
    "reboot": (0, 0, 0, _NULL),
    "kexec_load": (0, _MANY, _NULL, 0),
    "init_module": (_NULL, 0, _NULL),
    "finit_module": (_BAD_FD, _NULL, 0),
    "delete_module": (_NULL, 0),
    "personality": (_PER_LINUX32,),
    "memfd_create": (_NULL, 0),
    "mlock": (0, 0),
    "shmget": (0, 0, 0),
    "setuid": (-1,),
    "setpriority": (-1, 0, 0),
    "clock_settime": (-1, _NULL),
    "listen": (_BAD_FD, 0),
    "accept": (_BAD_FD, _NULL, _NULL),
    "accept4": (_BAD_FD, _NULL, _NULL, 0),
}


@functools.cache
def _libraries() -> tuple[FFI, Any, Any]:
    ffi = FFI()
    ffi.cdef("long syscall(long, ...); int seccomp_syscall_resolve_name(const char *);")
    # The second is systemd's, and knows the numbers of all calls.
    return ffi, ffi.dlopen(None), ffi.dlopen("libseccomp.so.2")


def call(name: str, *arguments: int) -> None:
    ffi, libc, seccomp = _libraries()
    number = seccomp.seccomp_syscall_resolve_name(name.encode())
    if libc.syscall(number, *(ffi.cast("long", each) for each in arguments)) < 0:
        raise OSError(ffi.errno, name)


def execute(path: str) -> None:
    os.execv(path, [path, "--version"])


@contextmanager
def own_file(directory: str, content: bytes) -> Iterator[str]:
    """An executable file in a directory that a daemon may write to."""
    path = Path(directory, "mfc-dbus-probe")
    try:
        path.write_bytes(content)
        path.chmod(0o700)
        yield str(path)
    finally:
        path.unlink(missing_ok=True)


def execute_own_file(directory: str) -> None:
    """The kernel says ENOEXEC, unless it does not even look at what is in the file."""
    with own_file(directory, b"nonsense") as path:
        os.execv(path, [path])


def map_own_file(directory: str) -> None:
    with own_file(directory, b"x") as path, Path(path).open("rb") as file:
        mmap.mmap(file.fileno(), 1, prot=mmap.PROT_READ | mmap.PROT_EXEC)


def map_writable_code() -> None:
    mmap.mmap(-1, 1, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)


def write_in(directory: str) -> None:
    """Make a file without a name there."""
    os.close(os.open(directory, os.O_WRONLY | os.O_TMPFILE, 0o600))


def write_to(path: str) -> None:
    """Open a file as if to change it."""
    os.close(os.open(path, os.O_WRONLY))


def tcp(family: socket.AddressFamily, what: str) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        getattr(sock, what)(("127.0.0.1" if family == socket.AF_INET else "::1", 5009))


def attempts() -> Iterator[Attempt]:
    for name, arguments in CALLS.items():
        yield Attempt(name, ("EPERM",), functools.partial(call, name, *arguments))
    for family in range(socket.AF_UNIX, _FAMILIES):
        if family not in _USED_FAMILIES:
            # Which of them a kernel has does not matter: it looks at the type first.
            run = functools.partial(call, "socket", family, _NO_TYPE, 0)
            yield Attempt(f"a socket of family {family}", ("EAFNOSUPPORT",), run)
    yield Attempt("map memory to write and execute", ("EPERM",), map_writable_code)
    places = {
        "its state": os.environ.get("STATE_DIRECTORY", "/var/tmp"),
        "what ends with it": os.environ.get("RUNTIME_DIRECTORY", "/var/tmp"),
        **{path: path for path in ("/tmp", "/var/tmp", "/dev/shm")},
    }
    for place, path in places.items():
        execute_it = functools.partial(execute_own_file, path)
        yield Attempt(f"execute a file in {place}", ("EACCES",), execute_it)
        map_it = functools.partial(map_own_file, path)
        yield Attempt(f"map a file in {place} as code", ("EPERM",), map_it)
    for path in ("/etc", "/usr", "/home", "/root", "/var"):
        yield Attempt(f"write in {path}", ("EROFS",), functools.partial(write_in, path))
    for path in ("/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"):
        # EACCES is its user's answer.
        run = functools.partial(write_to, path)
        yield Attempt(f"write to {path}", ("EROFS", "EACCES"), run)
    yield Attempt("execute ls", ("EACCES",), functools.partial(execute, "/usr/bin/ls"))
    for program in ("/usr/lib/systemd/systemd", "/usr/local/lib/mfc-dbus/venv/bin/python3"):
        run = functools.partial(execute, program)
        yield Attempt(f"execute {program}", ("EACCES",), run, by_unit=False)
    for family in (socket.AF_INET, socket.AF_INET6):
        for what in ("bind", "connect"):
            run = functools.partial(tcp, family, what)
            yield Attempt(f"{what} TCP of {family.name}", ("EACCES",), run, by_unit=False)


def answer(attempt: Attempt) -> str:
    """Return the name of the error, or that there was none."""
    pid = os.fork()
    if not pid:
        status = 0
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            attempt.run()
        except OSError as error:
            status = error.errno or 255
        os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return errno.errorcode.get(status, f"status {status}") if status else "done"


def tell() -> int:
    print(json.dumps({attempt.name: answer(attempt) for attempt in attempts()}))
    return 0


def tell_in_place_of(serving: Coroutine[Any, Any, int]) -> int:
    serving.close()
    return tell()


if __name__ == "__main__":
    if sys.argv[1:] == ["--as-daemon"]:
        from mfc_dbus.daemon import main

        asyncio.run = tell_in_place_of  # type: ignore[assignment]
        sys.exit(main.main([]))
    sys.exit(tell())
