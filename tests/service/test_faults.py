"""Every system call of every kind of change fails once, twice, or from then on, and kill -9 comes.

What was refused is not found by the next start, and what was acknowledged is.
"""

import errno
import itertools
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import earlier
from lab.faults import ALL, CALLS, Faults
from lab.kept import AFTERWARDS, BEFORE, CHANGES, LOGS, Victims, do, found, open_keeper, prepare

from mfc_dbus.model.desired import Desired

_FAILURES = {"once": 1, "twice": 2, "from then on": ALL}
_QUOTA = (errno.ENOSPC, errno.EDQUOT)
_WITH_EVERY_LOG = ("add", "apply", "to transient")
_MAX_CALLS = 60  # of one kind in one change, where not all are tried


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """A directory in memory, where there is one: what is synced there is so at once."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Faults:
    return Faults(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def victims(faults: Faults) -> Iterator[Victims]:
    with Victims(faults.environment) as victims:
        yield victims


@pytest.fixture(scope="module")
def prepared(scratch: Path) -> Path:
    prepare(scratch / "prepared")
    return scratch / "prepared"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "log" not in metafunc.fixturenames:
        return
    thorough = metafunc.config.getoption("--thorough")
    cases = [
        (name, log)
        for name in CHANGES
        for log in LOGS
        if log == "going" or name in _WITH_EVERY_LOG or thorough
    ]
    metafunc.parametrize(("name", "log"), cases)


def copy(origin: Path) -> Path:
    """Make a home of what is in another one; the one that was made before is gone."""
    home = origin.with_name("home")
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(origin, home)
    return home


def test_what_a_start_finds_is_what_was_answered(
    name: str, log: str, faults: Faults, victims: Victims, prepared: Path, thorough: bool
) -> None:
    before = {*BEFORE}
    after = do(before, CHANGES[name])
    home = prepared.with_name("home")
    errors = (errno.EIO, *_QUOTA) if thorough or name == "delete" else (errno.EIO,)
    for call, error, (how, failures) in itertools.product(CALLS, errors, _FAILURES.items()):
        answers: Counter[str] = Counter()
        for skip in range(_MAX_CALLS):
            victims.start(copy(prepared), log)
            faults.plan(call, skip, failures, error)
            answer = victims.ask(name)
            failed = faults.failed
            faults.stop()
            victims.kill()
            there = found(home)
            case = f"{name}, {log} log, {call} {skip} {how}: {answer}"
            if answer == "done":
                assert there == after, case
            elif "may be found" in answer:
                assert (call, failures) == ("any", ALL), case
                assert there in (before, after), case
            else:
                assert there == before, case
            if not failed:
                break
            answers["acknowledged" if answer == "done" else "refused"] += 1
        for answer, count in answers.items():
            number = errno.errorcode[error]
            print(f"| {name} | {log} | {call} {number} {how} | {answer} | {count} |")


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_any_kind_costs_one_sync(
    name: str, faults: Faults, victims: Victims, prepared: Path
) -> None:
    home = copy(prepared)
    victims.start(home, "going")
    faults.plan("fdatasync", failures=0)
    assert victims.ask(name) == "done"
    synced = faults.seen
    faults.stop()
    victims.kill()
    assert synced == 1


@pytest.mark.parametrize("call", ["fdatasync", "pwrite64"])
def test_after_a_failure_the_next_change_is_kept(
    call: str, faults: Faults, victims: Victims, prepared: Path
) -> None:
    home = copy(prepared)
    victims.start(home, "going")
    faults.plan(call, failures=ALL)
    assert victims.ask("add") != "done"
    assert victims.ask("afterwards") != "done"
    faults.stop()
    assert victims.ask("afterwards") == "done"
    assert victims.ask("delete") == "done"
    victims.kill()
    assert found(home) == do(do({*BEFORE}, AFTERWARDS), CHANGES["delete"])


STARTS = ("after a crash", "an earlier version's", "damaged")


@pytest.fixture(params=STARTS)
def left(
    request: pytest.FixtureRequest, scratch: Path, prepared: Path
) -> tuple[Path, set[Desired]]:
    """What an earlier process has left, and what of it a start finds."""
    home = scratch / request.param.replace(" ", "-")
    if not home.exists():
        if request.param == "an earlier version's":
            earlier.make_both(home)
        else:
            shutil.copytree(prepared, home)
            pid = os.fork()
            if not pid:  # it leaves a log
                keeper = open_keeper(home)
                keeper.read()
                keeper._write(AFTERWARDS)
                os._exit(0)
            os.waitpid(pid, 0)
        if request.param == "damaged":
            path = home / "state" / "routes.db"
            path.write_bytes(b"no database" + path.read_bytes()[11:])
    if request.param == "an earlier version's":
        return home, {*earlier.DURABLE, *earlier.PASSING}
    return home, do({*BEFORE}, AFTERWARDS)


@pytest.mark.parametrize("call", CALLS)
def test_no_failure_at_the_start_ends_it_or_loses_anything(
    left: tuple[Path, set[Desired]], call: str, faults: Faults, victims: Victims
) -> None:
    origin, expected = left
    home = origin.with_name("home")
    for how, failures in _FAILURES.items():
        for skip in range(_MAX_CALLS):
            copy(origin)
            faults.plan(call, skip, failures, path="/state/")
            victims.start(home, "new")
            failed = faults.failed
            faults.stop()
            victims.kill()
            assert found(home) == expected, f"{call} {skip} {how}"
            if not failed:
                break
