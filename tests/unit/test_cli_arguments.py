"""What may be typed, and what it means."""

import argparse
import sys
from collections.abc import Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mfc_dbus.cli.arguments import COMMANDS, EXITS, complete, parse
from mfc_dbus.cli.options import given as said_in
from mfc_dbus.cli.parser import UsageError
from mfc_dbus.cli.status import Status
from mfc_dbus.model.options import ADD_ROUTE, CHANGE_ROUTE, JOIN_GROUP, Option

ADD = ["mfc", "add", "--group", "239.1.1.1", "--iif", "eth1"]
CHANGE = ["mfc", "change", "--group", "239.1.1.1"]
JOIN = ["group", "join", "--group", "239.1.1.1", "--interface", "eth1"]
VERBS = [
    ["show"],
    ["status"],
    ["reload"],
    ["edit"],
    ["check"],
    ["help"],
    ["mfc", "show"],
    ["group", "show"],
    ["mfc", "add"],
    ["mfc", "change"],
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
        (["mfc", "c", "-g", "239.1.1.1"], "change"),
        (["mfc", "modify", "-g", "239.1.1.1"], "change"),
        (["g", "j", *JOIN[2:]], "join"),
        (["gr", "l", "-g", "239.1.1.1", "-i", "eth1"], "leave"),
        (["mo"], "monitor"),
        (["d"], "discover"),
        (["b", "-"], "batch"),
        (["e"], "export"),
        (["ed"], "edit"),
        (["st"], "status"),
        (["r"], "reload"),
        (["help", "mfc", "add"], "help"),
        (["mfc", "show"], "show"),
        (["group", "list"], "show"),
        (["mfc", "remove", "-g", "239.1.1.1"], "delete"),
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


def test_show_knows_its_tables() -> None:
    assert parsed("show").what == "routes"
    assert parsed("show", "r").what == "routes"
    assert parsed("show", "learned").what == "learned"
    assert parsed("s", "s").what == "streams"
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
    assert dict(parsed(*ADD, "-o", "eth2", *words).ttls) == ttls


@pytest.mark.parametrize("value", ["", "eth2", "eth2=", "=5", "eth2=256", "eth2=-1", "eth2=٣"])
def test_a_threshold_of_another_form_is_refused(value: str) -> None:
    with pytest.raises(
        UsageError, match=r"--ttl: '.*' is not of the form IF=N, with N from 1 to 254"
    ):
        parsed(*ADD, "-o", "eth2", "--ttl", value)


def test_a_route_is_kept_for_ever_and_now_unless_it_is_said() -> None:
    route = parsed(*ADD, "-o", "eth2")
    assert said_in(route, ADD_ROUTE) == {}
    route = parsed(*ADD, "-o", "eth2", "--transient", "--timeout", "4294967295", "--wait")
    said = {"persistent": False, "timeout": 2**32 - 1, "wait": True}
    assert said_in(route, ADD_ROUTE) == said


def test_a_membership_is_of_any_source_and_kept_for_ever_unless_it_is_said() -> None:
    plain = parsed(*JOIN)
    assert (plain.source, said_in(plain, JOIN_GROUP)) == ("*", {})
    full = parsed(*JOIN, "-s", "10.0.0.1", "--transient", "--wait", "--comment", "lobby")
    said = {"persistent": False, "wait": True, "comment": "lobby"}
    assert (full.source, said_in(full, JOIN_GROUP)) == ("10.0.0.1", said)


@given(st.integers(0, 3), st.integers(0, 30), st.integers(0, 90), st.integers(0, 90))
def test_a_time_may_be_given_in_parts(days: int, hours: int, minutes: int, seconds: int) -> None:
    parts = zip((days, hours, minutes, seconds), "dhms", (86400, 3600, 60, 1), strict=True)
    given = [(f"{count}{unit}", count * length) for count, unit, length in parts if count]
    value = "".join(word for word, _ in given) or "0s"
    route = parsed(*ADD, "-o", "eth2", "--timeout", value)
    assert said_in(route, ADD_ROUTE) == {"timeout": sum(length for _, length in given)}


@pytest.mark.parametrize(
    "value",
    ["", "-1", "1.5", "1y", "s", "1m1h", "1h1h", "1h30", "50000d", "4294967296", "٣", "1h ٣s"],
)
def test_a_time_of_another_form_is_refused(value: str) -> None:
    with pytest.raises(UsageError, match=r"'.*' is not a number of seconds up to 4294967295"):
        parsed(*ADD, "-o", "eth2", f"--timeout={value}")


@pytest.mark.parametrize("value", ["", ",", "eth2,", "eth2,,eth3"])
def test_an_empty_oif_is_refused(value: str) -> None:
    with pytest.raises(UsageError, match="has an empty name in it"):
        oifs("--oifs", value)


def test_of_a_change_only_what_was_said_is_given() -> None:
    assert said_in(parsed(*CHANGE), CHANGE_ROUTE) == {}
    words = "--add-oifs a b,c --remove-oifs d --ttl a=9 --to-iif e --comment= --timeout 1m --wait"
    assert said_in(parsed(*CHANGE, *words.split(), "--add-oifs", "f"), CHANGE_ROUTE) == {
        "add_oifs": ["a", "b", "c", "f"],
        "remove_oifs": ["d"],
        "ttls": {"a": 9},
        "to_iif": "e",
        "comment": "",
        "timeout": 60,
        "wait": True,
    }


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("--enable", {"enabled": True}),
        ("--disable", {"enabled": False}),
        ("--persistent", {"persistent": True}),
        ("--transient", {"persistent": False}),
        ("--hairpin", {"hairpin": True}),
        ("--no-hairpin", {"hairpin": False}),
    ],
)
def test_what_is_true_or_false_can_be_changed_both_ways(
    word: str, meaning: dict[str, bool]
) -> None:
    assert said_in(parsed(*CHANGE, word), CHANGE_ROUTE) == meaning


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
        (["mfc"], "say what to do: show, add, change, del, flush"),
        (["mfc", "stop"], "'stop' is none of show, add, change, del, flush"),
        (["mfc", "delte"], "flush: did you mean 'del'?"),
        (["sohw"], "help: did you mean 'show'?"),
        (["shwo", "routes"], "help: did you mean 'show'?"),
        (["show", "route", "interfaec"], "unrecognized arguments: interfaec"),
        (["show", "239.1.1.1", "239.1.1.2"], "'239.1.1.2' is one group more than can be"),
        (["show", "--state", "wating"], "did you mean 'waiting'?"),
        (["show", "rotues"], "permissions: did you mean 'routes'?"),
        (["show", "239.1.1.1.1"], "Source '239.1.1.1.1' is not an IPv4 or IPv6 address"),
        (["show", "--group", "x"], "-g/--group: Source 'x' is not an IPv4 or IPv6 address"),
        (["show", "--table", "-1"], "-t/--table: "),
        (["mfc", "add", "-g", "239.1.1.1"], "required: -i/--iif"),
        (["mfc", "add", "-g", "239.1.1.1", "-i", "a"], "one of the arguments -o/--oifs --stop is"),
        (["mfc", "add", "-o", "b", "--stop"], "--stop: not allowed with argument -o/--oifs"),
        (["mfc", "del"], "required: -g/--group"),
        (["mfc", "change"], "required: -g/--group"),
        ([*CHANGE, "--enable", "--disable"], "--disable: not allowed with argument --enable"),
        ([*CHANGE, "--transient", "--persistent"], "not allowed with argument --transient"),
        ([*CHANGE, "--add-oifs", "eth2,"], "'eth2,' has an empty name in it"),
        (["group"], "say what to do: show, join, leave"),
        (["group", "join", "-g", "239.1.1.1"], "required: -i/--interface"),
        (["group", "leave", "-i", "eth1"], "required: -g/--group"),
        (["show", "everything"], "'everything' is none of routes, streams, learned, interfaces"),
        (["show", "routes", "interfaces"], "unrecognized arguments: interfaces"),
        (["--bogus"], "unrecognized arguments: --bogus"),
        (
            ["mfc", "flush", "--gro", "239.0.0.0/8"],
            "unrecognized arguments: --gro 239.0.0.0/8: did you mean '--group'?",
        ),
        # A misspelled option is what is wrong, and not that the right one is missing.
        (
            ["mfc", "add", "--grup", "239.1.1.1", "-i", "a", "-o", "b"],
            "unrecognized arguments: --grup: did you mean '--group'?",
        ),
        (["mfc", "del", "--group=239.1.1.1", "--tabel=1"], "did you mean '--table'?"),
        (["mfc", "del", "-x"], "unrecognized arguments: -x"),
        (["--jsn", "show"], "did you mean '--json'?"),
        # A verb without its object
        (["add", "-g", "239.1.1.1"], "did you mean 'mfc add'?"),
        (["join"], "did you mean 'group join'?"),
        (["jion"], "did you mean 'group join'?"),
        (["delete", "-g", "239.1.1.1"], "did you mean 'mfc del'?"),
        (["mfc", "join"], "did you mean 'group join'?"),
        # What is given twice
        ([*ADD, "-o", "b", "-i", "eth2"], "argument -i/--iif: it is given twice"),
        ([*ADD, "-o", "b", "-s", "*", "--source=*"], "argument -s/--source: it is given twice"),
        ([*ADD, "-o", "b", "--comment", "a", "--comment", "a"], "--comment: it is given twice"),
        (["show", "--iif", "a", "--interface", "b"], "--iif: it is given twice"),
        (["-H", "a", "show", "-H", "b"], "argument -H/--host: it is given twice"),
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


def test_what_may_repeat_may_be_given_twice() -> None:
    assert oifs("-o", "a", "--oifs", "b") == ["a", "b"]
    assert parsed("--json", "mfc", "flush", "--json").json


def test_help_names_every_status() -> None:
    for status in Status:
        assert f"  {status.value} " in EXITS


@pytest.mark.parametrize("words", [["--ttl", "a=1", "a=2"], ["--ttl=a=1", "--ttl=a=2"]])
@pytest.mark.parametrize(("command", "options"), [(ADD, ADD_ROUTE), (CHANGE, CHANGE_ROUTE)])
def test_two_thresholds_of_one_interface_contradict_each_other(
    words: list[str], command: list[str], options: Sequence[Option]
) -> None:
    extra = ["-o", "a"] if command is ADD else []
    with pytest.raises(UsageError, match="--ttl: a=1 and a=2 contradict each other"):
        said_in(parsed(*command, *extra, *words), options)
    same = said_in(parsed(*command, *extra, "--ttl", "a=1", "a=1"), options)
    assert same["ttls"] == {"a": 1}
