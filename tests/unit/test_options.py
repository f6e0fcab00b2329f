"""What can be said of a route or membership is one table: what takes from it, and what is held."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence

import pytest
from lab import imagined
from lab.handwritten import places

from mfc_dbus.cli.verbs import show
from mfc_dbus.client import InterfaceInfo, MembershipInfo, RouteInfo, StreamInfo, TableInfo
from mfc_dbus.model.options import ADD_ROUTE, CHANGE_ROUTE, JOIN_GROUP

# These take what they name from the table.
DERIVED = {
    "AddRoute", "ChangeRoute", "JoinGroup", "Routes", "Memberships", "Describe", "JSON", "TOML",
    "the schema", "the store", "mfc add", "the help of mfc add", "the completion of mfc add",
    "mfc change", "the help of mfc change", "the completion of mfc change", "group join",
    "the help of group join", "the completion of group join", "ADD_MFC", "CHANGE_MFC",
    "JOIN_GROUP", "the help of batch", "the lines of apply", "ListChanges", "the journal",
    "the manual page of the command line", "the manual page of documents",
}  # fmt: skip


@pytest.mark.parametrize("place", places())
def test_what_is_written_by_hand_names_every_option_and_no_other(place: str) -> None:
    named, wanted = places()[place]
    assert named == wanted


def test_an_option_more_is_everywhere_by_its_entry_and_where_it_is_not_that_is_told() -> None:
    done = subprocess.run(
        [sys.executable, imagined.__file__], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert set(found["knowing"]) == DERIVED
    # What the option does is written by who imagines it.
    assert set(found["complaining"]) == places().keys() - {"parse_route", "memberships"}


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("routes", RouteInfo._fields),
        ("streams", StreamInfo._fields),
        ("learned", StreamInfo._fields),
        ("interfaces", InterfaceInfo._fields),
        ("tables", TableInfo._fields),
        ("memberships", MembershipInfo._fields),
    ],
)
def test_the_help_of_show_names_all_that_it_writes(what: str, names: Sequence[str]) -> None:
    told = re.split(r"^  (?=\w)", show.DESCRIPTION, flags=re.MULTILINE)
    (described,) = (each for each in told if each.startswith(f"{what} "))
    assert [name for name in names if not re.search(rf"\b{name}\b", described)] == []


@pytest.mark.parametrize("options", [ADD_ROUTE, CHANGE_ROUTE, JOIN_GROUP])
def test_no_two_options_of_a_call_share_a_name_or_a_flag(options: object) -> None:
    assert isinstance(options, tuple)
    for names in (
        [option.name for option in options],
        [option.flag.word for option in options]
        + [option.flag.back for option in options if option.flag.back],
        [option.flag.short for option in options if option.flag.short],
    ):
        assert len({*names}) == len(names)
