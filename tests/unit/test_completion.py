"""What may come next on the command line."""

import argparse
import re
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfc_dbus.cli.arguments import COMMANDS, PROGRAM, Command, make_parser, parse
from mfc_dbus.cli.columns import COLUMNS
from mfc_dbus.cli.completion import offers
from mfc_dbus.cli.filters import STATES
from mfc_dbus.cli.values import KINDS, kinds_of

# Values that nobody can guess.
TEXTS = {"TEXT", "TIME", "N", "SECONDS"}
EVERYWHERE = ["--help", "--json", "--no-ask-password", "--host"]


def offered(*words: str) -> list[str]:
    *before, beginning = words
    return [word or f"({help_})" for word, help_ in offers(before, beginning)]


def verbs(command: Command = COMMANDS, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of each command that does something."""
    for word, each in command.words.items():
        yield from verbs(each, (*words, word)) if each.words else [(*words, word)]


def actions(words: Sequence[str]) -> list[argparse.Action]:
    command = COMMANDS
    for word in words:
        command = command.words[word]
    return make_parser(PROGRAM, command, set())._actions


every_verb = pytest.mark.parametrize("words", [*verbs()], ids=" ".join)


@pytest.fixture(autouse=True)
def _no_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent")


@every_verb
def test_the_words_of_every_verb_are_offered(words: Sequence[str]) -> None:
    for i, word in enumerate(words):
        assert word in offered(*words[:i], "")
        assert word in offered(*words[:i], word[:2])
        assert word in offered("help", *words[:i], "")


@every_verb
def test_all_options_of_every_verb_are_offered_and_no_others(
    words: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse([*words, "--help"])
    options = re.findall(r"^  (?:-.*, )?(--[a-z-]+)", capsys.readouterr().out, re.MULTILINE)
    assert sorted(offered(*words, "-")) == sorted(options)


@every_verb
def test_of_every_argument_it_is_known_what_its_values_are(words: Sequence[str]) -> None:
    for action in actions(words):
        if action.nargs != 0 and not action.choices:
            for kind in kinds_of(action):
                assert kind in KINDS or kind in TEXTS or not kind.isupper(), (
                    f"{kind} of {' '.join(words)} is not of KINDS in cli/values.py, which would "
                    "offer its values, and not of TEXTS here, of which nobody knows any"
                )


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["mf"], ["mfc"]),
        (["x"], []),
        (["nonsense", ""], []),
        (["mfc", "nonsense", "--"], []),
        (["--json", "mf", ""], [*COMMANDS.words["mfc"].words]),
        (["-"], [*EVERYWHERE[:1], "--version", *EVERYWHERE[1:]]),
        (["group", ""], [*COMMANDS.words["group"].words]),
        (["show", ""], [*COLUMNS]),
        (["show", "i"], ["interfaces"]),
        (["show", "routes", "i"], []),
        (["mfc", "show", "r"], []),
        (["show", "--state", ""], [*STATES]),
        (["show", "--state=di"], ["--state=disabled"]),
        (["top", "--sort", ""], ["rate", "packets", "group", "idle"]),
        (["top", "--sort=p"], ["--sort=packets"]),
        (["help", ""], [*COMMANDS.words]),
        (["help", "mf", "a"], ["add"]),
        (["help", "nonsense", "a"], []),
        (["-H", ""], ["(hosts)"]),
        (["-H", "somewhere", "sho"], ["show"]),
        (["-H", "somewhere", "mfc", "add", "-i", "l"], []),
        # Interfaces
        (["mfc", "add", "-i", "l"], ["lo"]),
        (["mfc", "add", "--iif", "l"], ["lo"]),
        (["mfc", "add", "--iif=l"], ["--iif=lo"]),
        (["mfc", "add", "--oifs", "l"], ["lo"]),
        (["mfc", "add", "--oifs", "x", "l"], ["lo"]),
        (["mfc", "add", "--oifs", "x,l"], ["x,lo"]),
        (["mfc", "change", "--to-iif", "l"], ["lo"]),
        (["mfc", "modify", "--remove-oifs", "x,l"], ["x,lo"]),
        (["mfc", "add", "--ttl", "l"], ["lo="]),
        (["mfc", "add", "--ttl", "lo="], []),
        (["group", "join", "--interface", "l"], ["lo"]),
        (["mfc", "add", "-ilo", "--ii"], []),
        # Files
        (["apply", ""], ["(files)", "-"]),
        (["apply", "a"], ["(files)"]),
        (["apply", "a", "--interface", "l"], ["lo"]),
        (["apply", "a", ""], [*EVERYWHERE[:1], "--merge", "--remove", "--keep", "--transient",
                              "--interface", "--copy", "--dry-run", "--empty", "--wait",
                              "--backup", "--may",
                              *EVERYWHERE[1:]]),
        (["check", "a", "b"], ["(files)"]),
        # Free text
        (["mfc", "add", "--comment", ""], []),
        (["mfc", "add", "--comment", "--js"], []),
        (["mfc", "add", "--group", ""], []),
        # Options are offered once, and where nothing else may come
        (["mfc", "add", "--com"], ["--comment"]),
        (["mfc", "add", "--comment=x", "--com"], []),
        (["mfc", "add", "--stop", "-o", "--oi"], []),
        (["mfc", "add", "-o", "x", "--oi"], ["--oifs"]),
        (["mfc", "add", "-o", "x", "--st"], []),
        (["mfc", "change", "--enable", "--dis"], []),
        (["monitor", ""], EVERYWHERE),
        (["apply", "--", "-"], ["(files)", "-"]),
    ],
)  # fmt: skip
def test_what_may_come_next_is_offered(words: Sequence[str], found: list[str]) -> None:
    assert offered(*words) == found


WORDS = st.sampled_from(
    [
        "mfc",
        "add",
        "show",
        "-",
        "--",
        "--iif",
        "--iif=",
        "-i",
        "-ix",
        "x",
        "",
        "=",
        "--=",
        "-o",
        "a,",
    ]
)


@given(st.lists(WORDS, min_size=1))
def test_no_words_make_it_fail(words: list[str]) -> None:
    offered(*words)
