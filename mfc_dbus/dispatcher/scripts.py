"""Finds the scripts to run, and says why others are not.

They are found anew for each event, so that a change counts at once. An entry of a later directory
hides one of the same name. Nobody waits for what is in no-wait.d, be it a script or a link to one.
"""

import errno
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

DIRECTORIES = (Path("/usr/lib/mfc-dbus/dispatcher.d"), Path("/etc/mfc-dbus/dispatcher.d"))
NO_WAIT = "no-wait.d"
_SKIPPED = ("~", ".bak", ".rpmnew", ".rpmorig", ".rpmsave", ".swp")
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_ROOT = 0
_MASK = Path("/dev/null")
_MAX_LINKS = 40  # as many as the kernel follows


class Script(NamedTuple):
    """A script to run. waits: whether what comes after it waits for its end."""

    name: str
    path: Path
    waits: bool = True


class Refused(NamedTuple):
    """An entry that is not run, and why; the reason is a clause."""

    path: Path
    reason: str


class Found(NamedTuple):
    """scripts: in the order in which they run."""

    scripts: Sequence[Script]
    refused: Sequence[Refused]


def find(directories: Iterable[Path] = DIRECTORIES) -> Found:
    """Read the directories, of which each hides entries of those before it."""
    entries: dict[str, Script] = {}
    refused: list[Refused] = []
    for directory in directories:
        for place, waits in ((directory, True), (directory / NO_WAIT, False)):
            reason, names = _list(place)
            if reason:
                refused.append(Refused(place, reason))
            entries |= {name: Script(name, place / name, waits) for name in names}
    scripts = []
    for _, script in sorted(entries.items()):
        if _is_skipped(script.name):
            continue
        reason = _refuse(script)
        if reason:
            refused.append(Refused(script.path, reason))
        elif not _is_mask(script.path):
            scripts.append(script)
    return Found(scripts, refused)


def _is_skipped(name: str) -> bool:
    return name == NO_WAIT or name.startswith(".") or name.endswith(_SKIPPED)


def _is_mask(path: Path) -> bool:
    """Return whether an entry only hides another one, as a link to /dev/null does for systemd."""
    return path.is_symlink() and path.readlink() == _MASK


def _list(directory: Path) -> tuple[str, list[str]]:
    """Return why a directory is not read, or nothing, and the names in it."""
    try:
        reason = _not_of_root(directory.stat()) or _refuse_way(directory)
        return reason, [] if reason else [each.name for each in directory.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return "", []
    except OSError as error:
        return _sentence(error), []


def _refuse(script: Script) -> str:
    """Return why a script is not run, or nothing."""
    if not script.name.isprintable():
        return "its name has control characters"
    if _is_mask(script.path):
        return ""
    try:
        status = script.path.stat()
        if not stat.S_ISREG(status.st_mode):
            return "it is no regular file"
        reason = _not_of_root(status)
        if reason:
            return reason
        if status.st_mode & (stat.S_ISUID | stat.S_ISGID):
            return "it is set-UID or set-GID"
        if not status.st_mode & stat.S_IXUSR:
            return "it is not executable"
        return _refuse_way(script.path)
    except OSError as error:
        return _sentence(error)


def _refuse_way(path: Path) -> str:
    """Return why the way to a path is not taken, or nothing; links are followed as they come.

    Whoever may rename an entry on the way could have any of root's programs run in its place.
    """
    owners = (_ROOT, Path("/").stat().st_uid)  # which is another one in a user namespace
    place, ahead, links = Path("/"), [*reversed(path.absolute().parts[1:])], 0
    while ahead:
        status = place.lstat()
        sticky = status.st_mode & stat.S_ISVTX
        if status.st_uid not in owners or (status.st_mode & _OTHERS_WRITE and not sticky):
            return f"others can change the directory '{place}'"
        name = ahead.pop()
        entry = place.parent if name == ".." else place / name
        if not entry.is_symlink():
            place = entry
            continue
        if entry.lstat().st_uid not in owners:
            return f"the link '{entry}' does not belong to root"
        links += 1
        if links > _MAX_LINKS:
            return os.strerror(errno.ELOOP)
        target = entry.readlink()
        if target.is_absolute():
            place = Path("/")
        ahead += [part for part in reversed(target.parts) if part != "/"]
    return ""


def _not_of_root(status: os.stat_result) -> str:
    if status.st_uid != _ROOT:
        return "it does not belong to root"
    if status.st_mode & _OTHERS_WRITE:
        return "others than root can write to it"
    return ""


def _sentence(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
