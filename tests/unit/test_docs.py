"""What README and the pages of data/doc say of files, links and commands is so."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from mfc_dbus.cli.arguments import parse

TOP = Path(__file__).parents[2]
PAGES = [TOP / "README.md", *sorted((TOP / "data/doc").glob("*.md"))]
LINK = re.compile(r"\[[^]]+\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def anchors(page: Path) -> set[str]:
    """Name the headings of a page as links do."""
    headings = re.findall(r"^#+ (.+)$", CODE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """Yield where each link leads that stays here: the file, and the anchor or nothing."""
    for link in LINK.findall(CODE.sub("", page.read_text())):
        if "://" not in link:
            path, _, anchor = link.partition("#")
            yield (page.parent / path).resolve() if path else page, anchor


def installed() -> set[Path]:
    """Find what meson installs with its path, so that links between them lead somewhere."""
    blocks = re.findall(r"install_data\((.*?)\)", (TOP / "meson.build").read_text(), re.DOTALL)
    (block,) = (block for block in blocks if "preserve_path: true" in block)
    return {TOP / name for name in re.findall(r"^ +'(.+)',$", block, re.MULTILINE)}


@every_page
def test_every_link_leads_somewhere(page: Path) -> None:
    for path, anchor in links(page):
        assert path.is_file(), path
        assert not anchor or anchor in anchors(path), f"{path.name}#{anchor}"


@every_page
def test_every_page_is_installed_with_what_it_links_to(page: Path) -> None:
    assert {page, *(path for path, _ in links(page))} <= installed()


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, found = set[Path](), {TOP / "README.md"}
    while found - reached:
        page = (found - reached).pop()
        reached.add(page)
        if page.suffix == ".md":
            found |= {path for path, _ in links(page)}
    assert reached >= {*PAGES}


@every_page
def test_every_command_is_one_that_the_program_understands(page: Path) -> None:
    for block in CODE.findall(page.read_text()):
        for line in re.findall(r"^# mfc-dbus-cli (.+)$", block, re.MULTILINE):
            parse(shlex.split(re.split(r" [|>]", line)[0]))


@every_page
def test_every_target_of_make_is_there(page: Path) -> None:
    targets = set(re.findall(r"^([a-z.-]+):", (TOP / "Makefile").read_text(), re.MULTILINE))
    said = re.findall(r"(?:`|^)make ((?:[A-Z]+=\S+ )*)([a-z-]+)", page.read_text(), re.MULTILINE)
    assert {target for _, target in said} <= targets


@every_page
def test_every_file_of_the_code_that_is_named_is_there(page: Path) -> None:
    for name in re.findall(r"`((?:\w+/)+\w*(?:\.\w+)?)`", page.read_text()):
        places = [TOP, TOP / "mfc_dbus", TOP / "tests"]
        assert any((place / name).exists() for place in places), name


def test_the_architecture_tells_of_every_room() -> None:
    page = (TOP / "data/doc/architecture.md").read_text()
    told = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert told == {path.parent.name for path in (TOP / "mfc_dbus").glob("*/__init__.py")}


def test_the_files_to_look_at_first_are_in_their_rooms() -> None:
    page = (TOP / "data/doc/architecture.md").read_text()
    for room, files in re.findall(r"^\| `(\w+)` \|.*\|(.*)\|$", page, re.MULTILINE):
        for name in re.findall(r"`(\w+\.py)`", files):
            assert (TOP / "mfc_dbus" / room / name).is_file(), f"{room}/{name}"
