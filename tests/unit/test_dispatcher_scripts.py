"""Which scripts of the directories run, in which order, and why others do not."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mfc_dbus.dispatcher.scripts import Found, find

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="scripts must belong to root")


@pytest.fixture
def packaged(tmp_path: Path) -> Path:
    return made(tmp_path / "lib")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return made(tmp_path / "etc")


def made(directory: Path) -> Path:
    (directory / "no-wait.d").mkdir(parents=True)
    for each in (directory, directory / "no-wait.d"):
        each.chmod(0o755)
    return directory


def script(path: Path, mode: int = 0o755) -> Path:
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


def become_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def names(found: Found) -> list[str]:
    return [each.name for each in found.scripts]


def test_they_run_by_name_over_both_directories(packaged: Path, own: Path) -> None:
    script(packaged / "50-b")
    script(packaged / "90-d")
    script(own / "10-a")
    script(own / "no-wait.d/70-c")
    found = find([packaged, own])
    assert names(found) == ["10-a", "50-b", "70-c", "90-d"]
    assert [each.waits for each in found.scripts] == [True, True, False, True]
    assert not found.refused


def test_a_later_directory_hides_what_has_the_same_name(packaged: Path, own: Path) -> None:
    for name in ("a", "b", "c", "no-wait.d/d"):
        script(packaged / name)
    script(own / "a")
    (own / "b").symlink_to("/dev/null")
    script(own / "c", 0o644)
    script(own / "d")
    found = find([packaged, own])
    assert [each.path for each in found.scripts] == [own / "a", own / "d"]
    assert found.scripts[1].waits
    assert [each.path for each in found.refused] == [own / "c"]


def test_a_link_in_no_wait_d_says_that_a_script_is_not_waited_for(
    packaged: Path, own: Path
) -> None:
    script(packaged / "a")
    (own / "no-wait.d/a").symlink_to(packaged / "a")
    script(own / "b")
    (own / "no-wait.d/b").symlink_to("../b")
    script(own / "no-wait.d/c")  # as NetworkManager wants it: the script there, and a link to it
    (own / "c").symlink_to("no-wait.d/c")
    found = find([packaged, own])
    assert [(each.name, each.waits) for each in found.scripts] == [
        ("a", False),
        ("b", False),
        ("c", False),
    ]
    assert not found.refused


@pytest.mark.parametrize(
    "name", [".hidden", "x~", "x.rpmsave", "x.rpmnew", "x.swp", ".x.swp", "x.bak"]
)
def test_what_editors_and_packages_leave_is_skipped_without_a_word(name: str, own: Path) -> None:
    script(own / name)
    assert find([own]) == Found([], [])


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.chmod(0o644), "it is not executable"),
        (lambda path: path.chmod(0o775), "others than root can write to it"),
        (lambda path: path.chmod(0o757), "others than root can write to it"),
        (lambda path: path.chmod(0o4755), "it is set-UID or set-GID"),
        (lambda path: path.chmod(0o2755), "it is set-UID or set-GID"),
        (lambda path: os.chown(path, 65534, 0), "it does not belong to root"),
        (lambda path: (path.unlink(), path.mkdir()), "it is no regular file"),
        (become_fifo, "it is no regular file"),
        (lambda path: (path.unlink(), path.symlink_to("nowhere")), "no such file or directory"),
        (lambda path: (path.unlink(), path.symlink_to(path)), "too many levels of symbolic links"),
    ],
)
def test_what_is_not_roots_alone_is_refused(
    spoil: Callable[[Path], object], reason: str, own: Path
) -> None:
    try:
        spoil(script(own / "a"))
    except OSError:
        pytest.skip("this user namespace has no other user")
    script(own / "b")
    found = find([own])
    assert names(found) == ["b"]
    assert [tuple(each) for each in found.refused] == [(own / "a", reason)]


def test_a_name_with_control_characters_is_refused(own: Path) -> None:
    script(own / "a\nb")
    script(own / os.fsdecode(b"\xff"))
    assert {each.reason for each in find([own]).refused} == {"its name has control characters"}


def test_a_link_that_others_can_bend_is_not_followed(own: Path, tmp_path: Path) -> None:
    open_ = tmp_path / "open"
    open_.mkdir()
    script(open_ / "tool")
    (open_ / "link").symlink_to("tool")
    open_.chmod(0o777)
    (own / "a").symlink_to(open_ / "tool")
    (own / "b").symlink_to(open_ / "link")
    found = find([own])
    assert not found.scripts
    assert {each.reason for each in found.refused} == {f"others can change the directory '{open_}'"}
    open_.chmod(0o755)
    assert names(find([own])) == ["a", "b"]


def test_a_directory_that_others_can_replace_is_not_read(own: Path, tmp_path: Path) -> None:
    script(own / "a")
    (tmp_path / "open").mkdir()
    directory = own.rename(tmp_path / "open/scripts.d")
    (tmp_path / "link").symlink_to(directory)
    for each in (directory, tmp_path / "link"):
        assert names(find([each])) == ["a"]
    (tmp_path / "open").chmod(0o777)
    for each in (directory, tmp_path / "link"):
        found = find([each])
        assert not found.scripts
        assert {each.reason for each in found.refused} == {
            f"others can change the directory '{tmp_path / 'open'}'"
        }


def test_links_lead_through_links_of_root(own: Path, tmp_path: Path) -> None:
    """As /bin does, and /usr/bin/awk through /etc/alternatives."""
    (tmp_path / "usr").mkdir()
    script(tmp_path / "usr/tool")
    (tmp_path / "bin").symlink_to("usr")
    (tmp_path / "usr/awk").symlink_to(tmp_path / "alternatives/awk")
    (tmp_path / "alternatives").mkdir()
    (tmp_path / "alternatives/awk").symlink_to("../bin/tool")
    (own / "a").symlink_to(tmp_path / "bin/tool")
    (own / "b").symlink_to("../usr/awk")
    (own / "c").symlink_to("/bin/sh")
    assert names(find([own])) == ["a", "b", "c"]
    try:
        os.lchown(tmp_path / "bin", 65534, 0)
    except OSError:
        pytest.skip("this user namespace has no other user")
    found = find([own])
    assert names(found) == ["c"]
    reason = f"the link '{tmp_path / 'bin'}' does not belong to root"
    assert {each.reason for each in found.refused} == {reason}


def test_a_directory_that_others_can_write_to_is_not_read(own: Path, packaged: Path) -> None:
    script(own / "a")
    script(own / "no-wait.d/c")
    script(packaged / "b")
    own.chmod(0o777)
    found = find([packaged, own])
    assert names(found) == ["b"]
    assert [tuple(each) for each in found.refused] == [
        (own, "others than root can write to it"),
        (own / "no-wait.d", f"others can change the directory '{own}'"),
    ]


def test_directories_that_are_not_there_have_no_scripts(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert find([tmp_path / "none", tmp_path / "file"]) == Found([], [])
