"""What may be typed, and what it means."""

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mfc_dbus.cli.arguments import COMMANDS, EXITS, UsageError, complete, parse
from mfc_dbus.cli.status import Status

COMPLETION = Path(__file__).parents[2] / "data" / "mfc-dbus-cli.bash"
ADD = ["mfc", "add", "--group", "239.1.1.1", "--iif", "eth1"]
JOIN = ["group", "join", "--group", "239.1.1.1", "--interface", "eth1"]
VERBS = [
    ["show"],
    ["mfc", "add"],
    ["mfc", "del"],
    ["mfc", "flush"],
    ["group", "join"],
    ["group", "leave"],
    ["monitor"],
    ["discover"],
    ["batch"],
]

# Linux allows a comma and a leading dash too, which --oifs would take for something else.
INTERFACES = st.text("eth0.=+$(@", min_size=1, max_size=15)
NAMES = st.lists(INTERFACES, min_size=1, max_size=3)


def parsed(*words: str) -> argparse.Namespace:
    return parse(words)[1]


def verb_of(*words: str) -> str:
    module = parse(words)[0]
    assert isinstance(module, type(sys))
    return module.__name__.rpartition(".")[2]


def oifs(*words: str) -> list[str]:
    return [name for part in parsed(*ADD, *words).oifs for name in part]


@pytest.mark.parametrize(
    ("words", "verb"),
    [
        ([], "show"),
        (["s"], "show"),
        (["show", "i"], "show"),
        (["mf", "a", *ADD[2:], "-o", "eth2"], "add"),
        (["mfc", "d", "-g", "239.1.1.1"], "delete"),
        (["mfc", "delete", "-g", "239.1.1.1"], "delete"),
        (["mfc", "f"], "flush"),
        (["g", "j", *JOIN[2:]], "join"),
        (["gr", "l", "-g", "239.1.1.1", "-i", "eth1"], "leave"),
        (["mo"], "monitor"),
        (["d"], "discover"),
        (["b", "-"], "batch"),
    ],
)
def test_words_may_be_shortened(words: Sequence[str], verb: str) -> None:
    assert verb_of(*words) == verb


@given(st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, unique=True), st.data())
def test_a_beginning_means_a_word_exactly_when_no_other_shares_it(
    words: list[str], data: st.DataObject
) -> None:
    word = data.draw(st.sampled_from(words))
    beginning = word[: data.draw(st.integers(1, len(word)))]
    others = [other for other in words if other.startswith(beginning) and other != word]
    if beginning == word or not others:
        assert complete(beginning, words) == word
    elif beginning in words:
        assert complete(beginning, words) == beginning
    else:
        with pytest.raises(UsageError, match="may be more than one of"):
            complete(beginning, words)


@given(st.text())
def test_what_is_no_beginning_is_refused(word: str) -> None:
    assume(not any(known.startswith(word) for known in COMMANDS.words) or not word)
    with pytest.raises(UsageError, match="is none of show, mfc, group, apply, export, "):
        complete(word, COMMANDS.words)


def test_show_knows_its_four_tables() -> None:
    assert parsed("show").what == "routes"
    assert parsed("show", "r").what == "routes"
    assert parsed("show", "learned").what == "learned"
    assert parsed("show", "interf").what == "interfaces"
    assert parsed("s", "t").what == "tables"
    assert parsed("s", "m").what == "memberships"


@given(st.lists(st.lists(NAMES, min_size=1, max_size=3), min_size=1, max_size=3))
def test_oifs_may_be_separate_or_joined_or_repeated(groups: list[list[list[str]]]) -> None:
    words = []
    for group in groups:
        words += ["--oifs", *(",".join(names) for names in group)]
    assert oifs(*words) == [name for group in groups for names in group for name in names]


@given(st.dictionaries(INTERFACES, st.integers(0, 255), min_size=1, max_size=4))
def test_thresholds_are_given_by_interface(ttls: dict[str, int]) -> None:
    words = [f"--ttl={name}={ttl}" for name, ttl in ttls.items()]
    assert dict(parsed(*ADD, "-o", "eth2", *words).ttl) == ttls


@pytest.mark.parametrize("value", ["", "eth2", "eth2=", "=5", "eth2=256", "eth2=-1", "eth2=٣"])
def test_a_threshold_of_another_form_is_refused(value: str) -> None:
    with pytest.raises(
        UsageError, match=r"--ttl: '.*' is not of the form IF=N, with N from 1 to 254"
    ):
        parsed(*ADD, "-o", "eth2", "--ttl", value)


def test_a_route_is_kept_for_ever_and_now_unless_it_is_said() -> None:
    route = parsed(*ADD, "-o", "eth2")
    assert (route.transient, route.timeout, route.wait) == (False, None, False)
    route = parsed(*ADD, "-o", "eth2", "--transient", "--timeout", "4294967295", "--wait")
    assert (route.transient, route.timeout, route.wait) == (True, 2**32 - 1, True)


def test_a_membership_is_of_any_source_and_kept_for_ever_unless_it_is_said() -> None:
    plain = parsed(*JOIN)
    assert (plain.source, plain.transient, plain.wait, plain.comment) == ("*", False, False, "")
    full = parsed(*JOIN, "-s", "10.0.0.1", "--transient", "--wait", "--comment", "lobby")
    assert (full.source, full.transient, full.wait, full.comment) == (
        "10.0.0.1",
        True,
        True,
        "lobby",
    )


@pytest.mark.parametrize("value", ["", "-1", "1.5", "1h", "4294967296", "٣"])
def test_a_time_of_another_form_is_refused(value: str) -> None:
    with pytest.raises(UsageError, match=r"'.*' is not a number of seconds up to 4294967295"):
        parsed(*ADD, "-o", "eth2", f"--timeout={value}")


@pytest.mark.parametrize("value", ["", ",", "eth2,", "eth2,,eth3"])
def test_an_empty_oif_is_refused(value: str) -> None:
    with pytest.raises(UsageError, match="has an empty name in it"):
        oifs("--oifs", value)


def test_the_source_may_be_left_out() -> None:
    assert parsed(*ADD, "-o", "eth2").source == "*"
    assert parsed(*ADD, "-o", "eth2", "--source", "*").source == "*"


@pytest.mark.parametrize("option", ["--group", "--source", "--iif", "--oifs", "--comment"])
def test_what_the_bus_cannot_carry_is_refused(option: str) -> None:
    with pytest.raises(UsageError, match="it is not valid UTF-8"):
        parsed(*ADD, "--oifs", "eth2", option, "\udcff")


def test_common_options_are_taken_anywhere() -> None:
    for words in (["--json", "mfc", "flush"], ["mfc", "--json", "flush"], ["mfc", "f", "--json"]):
        assert parsed(*words).json
    assert parsed("-H", "host", "--no-ask-password", "mfc", "flush").host == "host"
    assert not parsed("mfc", "flush").no_ask_password


@pytest.mark.parametrize("host", ["-oProxyCommand=reboot", "-", ""])
def test_a_host_that_ssh_would_take_for_an_option_is_refused(host: str) -> None:
    with pytest.raises(UsageError, match="is not a host"):
        parsed(f"--host={host}", "show")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["m"], "'m' may be more than one of mfc, monitor"),
        (["mfc"], "say what to do: add, del, flush"),
        (["mfc", "show"], "'show' is none of add, del, flush"),
        (["mfc", "add", "-g", "239.1.1.1"], "required: -i/--iif"),
        (["mfc", "add", "-g", "239.1.1.1", "-i", "a"], "one of the arguments -o/--oifs --stop is"),
        (["mfc", "add", "-o", "b", "--stop"], "--stop: not allowed with argument -o/--oifs"),
        (["mfc", "del"], "required: -g/--group"),
        (["group"], "say what to do: join, leave"),
        (["group", "join", "-g", "239.1.1.1"], "required: -i/--interface"),
        (["group", "leave", "-i", "eth1"], "required: -g/--group"),
        (["show", "everything"], "'everything' is none of routes, learned, interfaces"),
        (["show", "routes", "interfaces"], "unrecognized arguments: interfaces"),
        (["--bogus"], "unrecognized arguments: --bogus"),
        (["mfc", "flush", "--gro", "239.0.0.0/8"], "unrecognized arguments: --gro"),
        (["batch"], "required: FILE|-"),
    ],
)
def test_a_wrong_usage_is_one_sentence(words: Sequence[str], sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(words)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("words", [[], ["mfc"], ["group"], *VERBS])
def test_help_teaches_by_example_and_names_the_exit_statuses(
    words: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse([*words, "--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert f"\n  mfc-dbus-cli {' '.join(words)}" in told
    assert told.endswith(EXITS)


def test_help_names_every_status() -> None:
    for status in Status:
        assert f"  {status.value} " in EXITS


@pytest.mark.parametrize("words", VERBS)
def test_completion_offers_the_options_of_every_verb(
    words: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse([*words, "--help"])
    options = re.findall(r"^  (?:-.*, )?(--[a-z-]+)", capsys.readouterr().out, re.MULTILINE)
    assert sorted(completed(*words, "--")) == sorted(options)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (
            [""],
            ["show", "mfc", "group", "apply", "export", "import", "monitor", "discover", "batch"],
        ),
        (["m"], ["mfc", "monitor"]),
        (["--json", "mf", ""], ["add", "del", "flush"]),
        (
            ["-H", "somewhere", "show", ""],
            ["routes", "learned", "interfaces", "tables", "memberships"],
        ),
        (["group", ""], ["join", "leave"]),
        (["group", "join", "--interface", "l"], ["lo"]),
        (["mfc", "add", "--iif", "l"], ["lo"]),
        (["mfc", "add", "--oifs", "x", "l"], ["lo"]),
        (["mfc", "add", "--oifs", "x,l"], ["x,lo"]),
        (["mfc", "add", "--ttl", "l"], ["lo="]),
        (["mfc", "add", "--group", ""], []),
    ],
)
def test_completion_offers_what_may_come_next(words: Sequence[str], offered: list[str]) -> None:
    assert completed(*words) == offered


def completed(*words: str) -> list[str]:
    """What bash would offer for the last word."""
    script = (
        f'source {COMPLETION}; COMP_WORDS=(mfc-dbus-cli "$@"); COMP_CWORD=$#; _mfc_dbus_cli;'
        'for word in "${COMPREPLY[@]}"; do echo "$word"; done'
    )
    done = subprocess.run(
        ["bash", "-uc", script, "bash", *words], capture_output=True, text=True, check=True
    )
    assert not done.stderr
    return done.stdout.splitlines()
