"""Documents: to values and back, and all that is wrong with one, each with its place."""

import json
import tomllib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from mfc_dbus.documents import document
from mfc_dbus.documents.entries import (
    MembershipEntry,
    RouteEntry,
    json_schema,
    to_entry,
    to_membership_entry,
    write_route,
)
from mfc_dbus.documents.problem_lines import with_lines
from mfc_dbus.model.errors import InvalidArgs, RequestError
from mfc_dbus.model.membership import parse_membership
from mfc_dbus.model.route import Route, parse_route

names = st.text(
    st.characters(exclude_categories=["C", "Z"], exclude_characters="/:"), min_size=1, max_size=3
).filter(lambda name: name not in (".", "..", "lo"))
v4 = st.integers(1, 0xDF).map(lambda n: f"10.0.0.{n}")
v6 = st.integers(1, 0xFFFF).map(lambda n: f"fd00::{n:x}")
comments = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=20)


@st.composite
def routes(draw: st.DrawFn) -> Route:
    four = draw(st.booleans())
    source = draw(st.just("*") | (v4 if four else v6))
    number = draw(st.integers(1, 0xFFFF))
    group = f"239.1.{number >> 8}.{number & 255}" if four else f"ff3e::{number:x}"
    iif, *oifs = draw(st.lists(names, min_size=2, max_size=5, unique=True))
    ttls = draw(st.dictionaries(st.sampled_from(oifs), st.integers(1, 254))) if four else {}
    hairpin = draw(st.booleans())
    back = [iif] if hairpin and draw(st.booleans()) else []
    return parse_route(source, group, iif, oifs + back, ttls, draw(comments), hairpin=hairpin)


documents = st.lists(routes(), max_size=6, unique_by=lambda route: route.key)


@given(documents)
def test_what_is_written_is_read_as_it_was(routes: list[Route]) -> None:
    entries = [to_entry(route) for route in routes]
    assert document.from_toml(document.to_toml(entries)).routes == routes
    assert document.from_json(document.to_json(entries)).routes == routes


@given(documents)
def test_toml_and_json_are_the_same_schema(routes: list[Route]) -> None:
    entries = [to_entry(route) for route in routes]
    assert tomllib.loads(document.to_toml(entries)) == json.loads(document.to_json(entries))


@given(routes())
def test_the_service_writes_a_route_as_its_entry_is_written(route: Route) -> None:
    assert write_route(route) == msgspec.json.encode(to_entry(route))


def test_what_is_the_default_is_left_out() -> None:
    route = parse_route("*", "239.1.1.1", "eth1", ["eth2", "eth3"], {"eth3": 16})
    assert document.to_toml([to_entry(route)]) == (
        '[[route]]\ngroup = "239.1.1.1"\niif = "eth1"\noifs = ["eth2", "eth3"]\n'
        "ttls = { eth3 = 16 }\n"
    )


def test_memberships_are_part_of_it() -> None:
    memberships = [
        parse_membership("239.1.1.1", "*", "eth1"),
        parse_membership("232.1.1.1", "10.0.0.1", "eth1", "the lobby's"),
        replace(parse_membership("ff02::fb", "*", "eth2"), persistent=False),
    ]
    entries = [to_membership_entry(each) for each in memberships]
    assert entries[0] == MembershipEntry(group="239.1.1.1", interface="eth1")
    assert document.from_toml(document.to_toml([], entries)).memberships == memberships
    assert document.from_json(document.to_json([], entries)).memberships == memberships


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"group": "10.0.0.1"}, "membership[1]: Group '10.0.0.1' is not a multicast address"),
        ({"source": "239.0.0.1"}, "membership[1]: Source '239.0.0.1' is a multicast address"),
        ({"interface": "a/b"}, "membership[1]: 'a/b' is not an interface name"),
        ({"interface": 3}, 'membership[1].interface: 3 is not a string, such as "eth1"'),
        ({"iif": "eth1"}, "membership[1].iif: is not known; there are source, group, interface, "),
        ({"comment": "x" * 201}, "membership[1]: The comment has 201 characters"),
        ({"source": "0.0.0.0"}, "membership[1]: The same is in membership[0] already"),
    ],
)
def test_what_is_wrong_with_a_membership_is_told_with_its_path(
    wrong: dict[str, object], problem: str
) -> None:
    good = {"group": "239.1.1.1", "interface": "eth1"}
    with pytest.raises(InvalidArgs) as caught:
        document.from_json(json.dumps({"membership": [good, good | wrong]}))
    assert str(caught.value).startswith(problem)


def test_a_route_and_a_membership_may_be_of_the_same_stream_and_interface() -> None:
    entry = to_entry(parse_route("*", "239.1.1.1", "eth1", ["eth2"]))
    membership = MembershipEntry(group="239.1.1.1", interface="eth1")
    read = document.from_json(document.to_json([entry], [membership]))
    assert (len(read.routes), len(read.memberships)) == (1, 1)


def test_an_empty_document_has_no_routes() -> None:
    assert document.from_toml("# nothing\n").routes == document.from_json("{}").routes == []


GOOD = {"group": "239.1.1.1", "iif": "eth1", "oifs": ["eth2"]}
FIELDS = "source, group, iif, oifs, ttls, comment, persistent, table, hairpin, enabled"


@pytest.mark.parametrize(
    ("wrong", "problems"),
    [
        (
            {},
            [
                'route[1].group: is missing: write "group": "239.10.20.30"',
                'route[1].iif: is missing: write "iif": "eth1"',
                'route[1].oifs: is missing: write "oifs": ["eth2", "eth3"]',
            ],
        ),
        (GOOD | {"iif": 3}, ['route[1].iif: 3 is not a string, such as "eth1"']),
        (
            GOOD | {"oifs": "eth2"},
            ['route[1].oifs: "eth2" is not an array of strings, such as ["eth2", '],
        ),
        (
            GOOD | {"oifs": ["eth2", 3]},
            ['route[1].oifs: ["eth2", 3] is not an array of strings, such as '],
        ),
        (
            GOOD | {"ttls": {"eth2": "x"}},
            ['route[1].ttls.eth2: "x" is not a whole number, such as 16'],
        ),
        (
            GOOD | {"ttls": {"a b.c": True}},
            ['route[1].ttls."a b.c": true is not a whole number, such as 16'],
        ),
        (
            GOOD | {"ttls": []},
            [
                "route[1].ttls: [] is not an object of oifs and their thresholds, "
                'such as {"eth3": 16}'
            ],
        ),
        (GOOD | {"oif": ["a"]}, [f"route[1].oif: is not known; there are {FIELDS}"]),
        (
            {"iif": 1, "oifs": [], "comment": 2, "x": 3},
            ["route[1].x: ", "route[1].group: ", "route[1].iif: ", "route[1].comment: "],
        ),
        (GOOD | {"persistent": "no"}, ['route[1].persistent: "no" is not true or false']),
        (GOOD | {"comment": None}, ['route[1].comment: null is not a string, such as "the lob']),
        (GOOD | {"table": 1.5}, ["route[1].table: 1.5 is not a whole number, such as 100"]),
        (GOOD | {"iif": ["x" * 99]}, ['route[1].iif: ["' + "x" * 38 + "… is not a string"]),
        (3, ['route[1]: 3 is not an object: write "route": [{...}], an array of objects']),
        (GOOD | {"group": "1.1.1.1"}, ["route[1]: Group '1.1.1.1' is not a multicast address"]),
        (
            GOOD | {"oifs": ["eth1"]},
            [
                "route[1]: Interface 'eth1' is both the iif and an oif: with 'hairpin' what "
                "arrives there is sent back"
            ],
        ),
        (GOOD | {"ttls": {"eth2": 255}}, ["route[1]: TTL threshold 255 of 'eth2' is not from"]),
        (GOOD | {"group": "239.0.0.1", "source": "::"}, ["route[1]: Source '::' and group"]),
        (GOOD | {"group": "239.0.0.1"}, ["route[1]: The same is in route[0] already"]),
    ],
)
def test_each_problem_is_told_with_its_path(wrong: object, problems: list[str]) -> None:
    routes = [GOOD | {"group": "239.0.0.1"}, wrong, GOOD | {"group": "239.0.0.2"}]
    with pytest.raises(InvalidArgs) as caught:
        document.from_json(json.dumps({"route": routes}))
    told = str(caught.value).splitlines()
    assert len(told) == len(problems)
    for line, problem in zip(told, problems, strict=True):
        assert line.startswith(problem)


def test_no_more_than_twenty_problems_are_listed() -> None:
    with pytest.raises(InvalidArgs) as caught:
        document.from_json(json.dumps({"route": [{}] * 100, "rout": 3}))
    told = str(caught.value).splitlines()
    assert len(told) == 21
    assert told[-1] == "and 281 more"


TOML = """\
# three routes
[[route]]
group = "239.1.1.1"
iif = 3
oifs = ["eth2"]

[[route]]
group = "239.1.1.2"
iif = "eth1"
oifs = [
  "eth2",
  "eth3.7", # [[route]]
]
[route.ttls]
eth2 = 1
"eth3.7" = "high"

[[route]]
group = "239.1.1.300"
iif = "eth1"
oifs = ["eth2"]
comment = \"\"\"
[[route]]\"\"\"
"""


def test_in_toml_each_problem_has_its_line() -> None:
    with pytest.raises(InvalidArgs) as caught:
        document.from_toml(TOML)
    assert str(caught.value).splitlines() == [
        'line 4: route[0].iif: 3 is not a string, such as "eth1"',
        'line 16: route[1].ttls."eth3.7": "high" is not a whole number, such as 16',
        "line 18: route[2]: Group '239.1.1.300' is not an IPv4 or IPv6 address",
    ]


def test_what_others_say_of_a_route_gets_its_line_too() -> None:
    problems = "route[1]: Interface 'eth2' not found\nroute[1].oifs: bad\nand 3 more"
    assert with_lines(problems, TOML) == (
        "line 7: route[1]: Interface 'eth2' not found\nline 10: route[1].oifs: bad\nand 3 more"
    )


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("a = 1\nb =\n[x\nc = 3\n", ["line 2: 'b =' is not TOML: ", "line 3: '[x' is not TOML: "]),
        ("a = 1\na = 2\n", ["line 2: 'a = 2' is not TOML: Cannot overwrite a value"]),
        ("[[route]]\n[route]\n", ["line 2: '[route]' is not TOML: Cannot declare"]),
        ('a = """x\n\n', ['line 1: \'a = """x\' is not TOML: ']),
    ],
)
def test_what_is_not_toml_has_its_lines(text: str, problems: list[str]) -> None:
    with pytest.raises(InvalidArgs) as caught:
        document.from_toml(text)
    told = str(caught.value).splitlines()
    assert len(told) == len(problems)
    for line, problem in zip(told, problems, strict=True):
        assert line.startswith(problem)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "3", '{"route": [', "[" * 100_000, '{"route": "x"}', "\ud800", "{}x"],
)
def test_what_is_no_document_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgs):
        document.from_json(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(["route", *RouteEntry.__struct_fields__, "x"]), inner)
        ),
    )
)
def test_any_json_is_a_document_or_a_refusal(value: object) -> None:
    for data in (value, {"route": value}, {"route": [value]}):
        try:
            document.from_json(msgspec.json.encode(data))
        except RequestError as error:
            assert str(error)


@given(st.text())
def test_any_text_is_a_document_or_a_refusal(text: str) -> None:
    for read in (document.from_toml, document.from_json):
        try:
            read(text)
        except InvalidArgs as error:
            assert str(error)


def test_the_schema_names_every_field() -> None:
    schema = json.loads(json_schema())
    route = schema["$defs"]["RouteEntry"]
    assert list(route["properties"]) == FIELDS.split(", ")
    assert route["required"] == ["group", "iif", "oifs"]
    assert not route["additionalProperties"]
    membership = schema["$defs"]["MembershipEntry"]
    fields = ["source", "group", "interface", "comment", "persistent"]
    assert list(membership["properties"]) == fields
    assert membership["required"] == ["group", "interface"]
