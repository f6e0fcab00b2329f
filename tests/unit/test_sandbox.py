"""Which system calls the unit lets the daemon make, as systemd understands its lines."""

import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "data/mfc-dbus.service.in"
_DIRECTIVE = "SystemCallFilter="

# What somebody could do with a daemon that he took over, and it has no use for.
DENIED = (
    *("io_uring_enter", "io_uring_register", "io_uring_setup", "io_setup", "io_submit"),
    *("userfaultfd", "memfd_create", "mlock", "mlockall", "bpf", "perf_event_open"),
    *("listen", "accept", "accept4", "landlock_add_rule"),
    *("ptrace", "process_vm_readv", "process_vm_writev"),
    *("add_key", "keyctl", "request_key", "shmget", "shmat", "semget", "msgget", "mq_open"),
    *("mount", "umount2", "pivot_root", "chroot", "open_by_handle_at"),
    *("init_module", "finit_module", "delete_module", "kexec_load", "reboot", "swapon"),
    *("clock_settime", "settimeofday", "adjtimex", "iopl", "ioperm", "sethostname"),
    *("chown", "fchown", "fchownat", "lchown"),
    *("setuid", "setgid", "setgroups", "setresuid", "setresgid", "setreuid"),
    *("setpriority", "sched_setscheduler", "setrlimit", "mbind"),
)
NEEDED = (
    *("socket", "bind", "connect", "setsockopt", "getsockopt", "recvmsg", "sendmsg", "ioctl"),
    *("openat", "read", "pread64", "pwrite64", "fdatasync", "fsync", "ftruncate", "rename"),
    *("unlink", "fcntl", "mmap", "munmap", "futex", "clone3", "epoll_wait", "capset", "prctl"),
    *("landlock_create_ruleset", "landlock_restrict_self"),
)


@cache
def members(name: str) -> frozenset[str]:
    """The system calls of a set such as @io-event, and those of the sets that it is made of."""
    if not name.startswith("@"):
        return frozenset([name])
    command = ("systemd-analyze", "syscall-filter", "--no-pager", name)
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    words = (line.strip() for line in shown.splitlines()[1:])
    return frozenset().union(*(members(word) for word in words if word and word[0] != "#"))


def lines() -> Iterator[str]:
    for line in UNIT.read_text().splitlines():
        if line.startswith(_DIRECTIVE):
            yield line.removeprefix(_DIRECTIVE)


@pytest.fixture(scope="module")
def allowed() -> set[str]:
    if not shutil.which("systemd-analyze"):
        pytest.skip("there is no systemd-analyze")
    found: set[str] = set()
    for line in lines():
        names = (members(name) for name in line.removeprefix("~").split())
        if line.startswith("~"):
            found.difference_update(*names)
        else:
            found.update(*names)
    return found


@pytest.mark.parametrize("call", DENIED)
def test_a_call_that_the_daemon_never_makes_is_denied(allowed: set[str], call: str) -> None:
    assert call not in allowed


@pytest.mark.parametrize("call", NEEDED)
def test_a_call_that_the_daemon_makes_is_not_denied(allowed: set[str], call: str) -> None:
    assert call in allowed
