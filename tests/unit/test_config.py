"""The configuration: what it may say, and an error that names file, line and key."""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfc_dbus.config import settings
from mfc_dbus.config.settings import FILE, Settings
from mfc_dbus.model.addresses import FAMILIES, FAMILY_NAMES
from mfc_dbus.model.errors import ConfigError
from mfc_dbus.model.route import TableId

IPV4, IPV6 = FAMILIES
SETTINGS = "'tables', 'limits.routes', 'limits.memberships', 'limits.learned', 'learning.expiry', "
FAMILY_LISTS = st.lists(st.sampled_from(FAMILIES), max_size=4)

# Lines that say nothing, in which a name is no key.
NOTHING = st.sampled_from(["", "# tables = 1", "  # [limits] routes = -1", "\t"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / FILE


def load(path: Path, text: str) -> Settings:
    path.write_text(text)
    return settings.load(path.parent)


def refused(path: Path, text: str) -> str:
    """What the error says beside the file."""
    with pytest.raises(ConfigError) as error:
        load(path, text)
    sentence = str(error.value)
    assert sentence.startswith(f"{path}: ")
    assert "\n" not in sentence
    return sentence.removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        # What is a setting
        ("table = []", f"line 1: 'table' is no setting; there are {SETTINGS}"),
        ("tables = []\n\n[limit]\nroutes = 1", "line 3: 'limit' is no setting; "),
        ("[limits]\n# routes = 2\nroute = 1", "line 3: 'limits.route' is no setting; "),
        ("limits = { x = 1 }", "line 1: 'limits.x' is no setting; "),
        ('"limits.routes" = 1', "line 1: 'limits.routes' is no setting; "),
        ('"" = 1', "line 1: '' is no setting; "),
        ('"a\\nb" = 1', r"line 1: 'a\nb' is no setting; "),
        # tables
        ('tables = "ipv4"', "line 1: 'tables' is not an array of 'ipv4', 'ipv6'"),
        ("\ntables = [4]", "line 2: 'tables' is not an array of"),
        ('tables = ["ipv4", "ipx"]', "line 1: 'tables' is not an array of"),
        ('tables = [["ipv4"]]', "line 1: 'tables' is not an array of"),
        ("tables = [{}]", "line 1: 'tables' is not an array of"),
        ("[tables]\nipv4 = true", "line 1: 'tables' is not an array of"),
        ('# tables\n\ntables = [\n  "ipv4",\n  "ipx",\n]\n', "line 3: 'tables' is not an array of"),
        ('"t\\u0061bles" = 1', "line 1: 'tables' is not an array of"),
        ('tables = ["ipv4/0"]', "line 1: 'tables' is not an array of"),
        ('tables = ["ipv4/"]', "line 1: 'tables' is not an array of"),
        ('tables = ["ipv4/007"]', "line 1: 'tables' is not an array of"),
        ('tables = ["ipv4/253"]', "line 1: 'tables' is not an array of"),
        ('tables = ["ipv4/100000000"]', "line 1: 'tables' is not an array of"),
        # rules
        ("rules = 5", "line 1: 'rules' is not a table of interfaces"),
        ("[rules]\neth1 = 100", "line 2: 'rules.eth1' names a table that 'tables' does not: 100"),
        ("[rules]\neth1 = 'x'", "line 2: 'rules.eth1' is not a whole number"),
        ('[rules]\n"a b" = 0', "line 2: 'rules.a b' is no rule: 'a b' is not an interface name"),
        # learning
        (
            "[learning]\nexpiry = 0",
            "line 2: 'learning.expiry' is not a whole number of",
        ),
        (
            "learning.expiry = 1.5",
            "line 1: 'learning.expiry' is not a whole number of",
        ),
        # discovery
        (
            "[discovery]\ninterfaces = 'eth0'",
            "line 2: 'discovery.interfaces' is not an array of interface names and patterns",
        ),
        (
            "[discovery]\ninterfaces = ['eth0', 'a b']",
            "line 2: 'discovery.interfaces' is no such array: 'a b' is not an interface name",
        ),
        # router discovery
        ("[router_discovery]\ninterfaces = 5", "line 2: 'router_discovery.interfaces' is not an"),
        *(
            (
                f"router_discovery.interval = {seconds}",
                "line 1: 'router_discovery.interval' is not a whole number of seconds from 4 to 1",
            )
            for seconds in (3, 181, 4.5, "true", "'20'")
        ),
        # limits
        ("limits = 5", "line 1: 'limits' is not a table"),
        ("[[limits]]\nroutes = 1", "line 1: 'limits' is not a table"),
        ("[limits]\nroutes = -1", "line 2: 'limits.routes' is not a whole number from 0 on"),
        ("[limits]\nroutes = true", "line 2: 'limits.routes' is not a whole number"),
        ("[limits]\nroutes = 1.0", "line 2: 'limits.routes' is not a whole number"),
        ("[limits]\nroutes = '7'", "line 2: 'limits.routes' is not a whole number"),
        ("limits.routes = -1", "line 1: 'limits.routes' is not a whole number"),
        ("tables = []\nlimits = { routes = -1 }", "line 2: 'limits.routes' is not a whole number"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named_with_its_line(
    path: Path, text: str, sentence: str
) -> None:
    assert refused(path, text).startswith(sentence)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("tables = []\ntables", "line 2: 'tables' is not TOML: Expected '=' after a key"),
        ("\n\ntables = [\n\n# ...", "line 3: 'tables = [' is not TOML: "),
        ("tables = []\n\ntables = []", "line 3: 'tables = []' is not TOML: Cannot overwrite"),
        ("tables = 1\x00", r"line 1: 'tables = 1\x00' is not TOML: Expected newline"),
        ("t\\u0061bles = 1", r"line 1: 't\u0061bles = 1' is not TOML: "),
        ("x = 1\ntables = " + "[" * 10_000, "line 2: 'tables = [[[["),
        ("limits.routes = " + "9" * 5000, "line 1: 'limits.routes = 9999"),
    ],
)
def test_what_is_no_toml_is_refused_with_the_place(path: Path, text: str, sentence: str) -> None:
    assert refused(path, text).startswith(sentence)


def test_all_that_is_wrong_is_told_at_once(path: Path) -> None:
    path.write_text("tables = 5\nx = 1\n[limits]\nroutes = -1\nlearned = 7\n[rules]\neth1 = 'x'\n")
    with pytest.raises(ConfigError) as error:
        settings.load(path.parent)
    sentences = [line.removeprefix(f"{path}: ") for line in str(error.value).split("\n")]
    begins = ["'tables' is not", "'x' is no", "'limits.routes' is not", "'rules.eth1' is not"]
    assert [line.partition(": ")[0] for line in sentences] == [
        "line 1",
        "line 2",
        "line 4",
        "line 7",
    ]
    assert all(each in line for each, line in zip(begins, sentences, strict=True))
    path.write_text("tables = [\nx = 1\n]\ny 2\nz 3\n")
    with pytest.raises(ConfigError) as error:
        settings.load(path.parent)
    assert [line.partition(": line ")[2][:1] for line in str(error.value).split("\n")] == [
        *("1", "4", "5")
    ]


def test_what_is_no_text_or_no_file_that_can_be_read_is_refused(path: Path) -> None:
    path.write_bytes(b"tables = []\n# \xff")
    with pytest.raises(ConfigError, match=r"line 2: This is not valid UTF-8$"):
        settings.load(path.parent)
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigError, match=f"{FILE}: Is a directory"):
        settings.load(path.parent)


def test_without_a_file_or_a_setting_all_is_as_it_was_made(path: Path) -> None:
    assert settings.load(path.parent) == settings.load(path.parent / "none") == Settings()
    assert load(path, "") == load(path, "[limits]\n") == Settings()
    assert Settings().tables == tuple(map(TableId, FAMILIES))


def test_other_tables_are_named_by_number_and_have_rules(path: Path) -> None:
    text = 'tables = ["ipv6", "ipv4/100", "ipv4/2530"]\n[rules]\neth1 = 100\n"eth1.5" = 0\n'
    assert load(path, text) == Settings(
        (TableId(IPV6), TableId(IPV4, 100), TableId(IPV4, 2530)), rules={"eth1": 100, "eth1.5": 0}
    )


@given(tables=FAMILY_LISTS, routes=st.integers(0))
def test_settings_are_taken_as_they_are(
    tmp_path_factory: pytest.TempPathFactory, tables: list[int], routes: int
) -> None:
    path = tmp_path_factory.mktemp("etc") / FILE
    names = [FAMILY_NAMES[family] for family in FAMILIES if family in tables]
    loaded = load(path, f"tables = {names}\n[limits]\nroutes = {routes}\n")
    assert loaded == Settings(
        tuple(TableId(family) for family in FAMILIES if family in tables), routes
    )


@given(st.lists(NOTHING, max_size=5), st.lists(NOTHING, max_size=5), st.booleans())
def test_the_line_is_that_on_which_the_setting_begins(
    tmp_path_factory: pytest.TempPathFactory, before: list[str], within: list[str], in_table: bool
) -> None:
    path = tmp_path_factory.mktemp("etc") / FILE
    wrong = ["[limits]", *within, "routes = -1"] if in_table else ["tables = [", *within, "1]"]
    begins = len(before) + (len(wrong) if in_table else 1)
    assert refused(path, "\n".join([*before, *wrong, *within])).startswith(f"line {begins}: ")


@given(st.text(st.characters(codec="utf-8")))
def test_any_file_is_a_configuration_or_an_error_with_a_line_for_each_problem(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.mktemp("etc") / FILE
    try:
        assert isinstance(load(path, text), Settings)
    except ConfigError as error:
        assert all(line.startswith(f"{path}: ") for line in str(error).split("\n"))


@given(
    st.dictionaries(
        st.sampled_from(["tables", "limits", "other"]),
        st.recursive(
            st.booleans() | st.integers(-3, 3) | st.sampled_from(["'ipv4'", "'ipv6'", "'ipx'"]),
            lambda inner: (
                st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(map(toml, items))}]")
                | inner.map(lambda it: f"{{ routes = {toml(it)} }}")
            ),
            max_leaves=4,
        ),
    )
)
def test_any_values_are_a_configuration_or_an_error_with_line_and_key(
    tmp_path_factory: pytest.TempPathFactory, settings: dict[str, object]
) -> None:
    path = tmp_path_factory.mktemp("etc") / FILE
    text = "\n".join(f"{name} = {toml(value)}" for name, value in settings.items())
    tomllib.loads(text)
    try:
        assert isinstance(load(path, text), Settings)
    except ConfigError as error:
        for problem in str(error).split("\n"):
            line, key = problem.removeprefix(f"{path}: line ").split(": ")
            assert key.startswith(f"'{list(settings)[int(line) - 1]}")


def toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_what_is_learned_is_bounded_and_expires_as_the_settings_say(path: Path) -> None:
    assert load(path, "limits.learned = 5\nlearning.expiry = 90") == Settings(
        max_learned=5, learned_expiry=90_000_000_000
    )


def test_interfaces_may_be_watched(path: Path) -> None:
    loaded = load(path, "[discovery]\ninterfaces = ['eth*', 'up', 'eth*']")
    assert loaded == Settings(discovery_interfaces=("eth*", "up"))


@pytest.mark.parametrize("seconds", [4, 180])
def test_switches_may_be_told_of_a_router(path: Path, seconds: int) -> None:
    text = "[router_discovery]\ninterfaces = ['eth1', 'lan*']\n"
    told = Settings(router_discovery_interfaces=("eth1", "lan*"))
    assert load(path, text) == told
    assert told.advertising_interval == 20_000_000_000
    interval = f"{text}interval = {seconds}"
    assert load(path, interval) == replace(told, advertising_interval=seconds * 1_000_000_000)
