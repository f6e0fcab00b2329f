"""What is wrong with a document is told in words: what is there, and what is to be written."""

import json

import pytest

from mfc_dbus.documents import document
from mfc_dbus.model.errors import InvalidArgs, LimitExceeded, RequestError


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "line 1: This is not JSON: Expecting value, at column 1"),
        ('{"route": [\n', "line 2: This is not JSON: Expecting value, at column 1"),
        ("[]", '[] is not an object, such as {"route": []}'),
        ("3", '3 is not an object, such as {"route": []}'),
        ("[" * 100_000, "The document is nested too deeply"),
        (
            '{"route": {"group": "239.1.1.1"}}',
            'route: {"group": "239.1.1.1"} is not an array: write "route": [{...}], an array of',
        ),
        ('{"membership": 3}', 'membership: 3 is not an array: write "membership": [{...}]'),
        ('{"routes": []}', "routes: is not known; there are route, membership"),
        ('{"route": [], "membership": [], "route": []}', "route: is there twice; write it once"),
    ],
)
def test_what_is_no_document_in_json_is_told_in_words(text: str, sentence: str) -> None:
    with pytest.raises(InvalidArgs) as caught:
        document.from_json(text)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            '[route]\ngroup = "239.1.1.1"\n',
            'line 1: route: { group = "239.1.1.1" } is not an array: '
            "write [[route]], with two brackets, above the keys of each route",
        ),
        ("route = [3]\n", "line 1: route[0]: 3 is not a table: write [[route]], with two br"),
        (
            "[[route]]\niif = 2026-11-26\n",
            'line 1: route[0].group: is missing: write group = "239.10.20.30"\n'
            'line 2: route[0].iif: 2026-11-26 is not a string, such as "eth1"',
        ),
        (
            '[[membership]]\ngroup = "239.1.1.1"\ninterface = ["eth1"]\n',
            'line 3: membership[0].interface: ["eth1"] is not a string, such as "eth1"',
        ),
        (
            "[[route]]\nttls = 16\n",
            'line 1: route[0].group: is missing: write group = "239.10.20.30"\n'
            'line 1: route[0].iif: is missing: write iif = "eth1"\n'
            'line 1: route[0].oifs: is missing: write oifs = ["eth2", "eth3"]\n'
            "line 2: route[0].ttls: 16 is not a table of oifs and their thresholds, "
            "such as { eth3 = 16 }",
        ),
        (
            '[[route]]\niif = "\\u001b[31m"\ngroup = "\\n"\noifs = 0\n',
            'line 4: route[0].oifs: 0 is not an array of strings, such as ["eth2", "eth3"]',
        ),
    ],
)
def test_what_is_no_document_in_toml_is_told_in_words(text: str, sentence: str) -> None:
    with pytest.raises(InvalidArgs) as caught:
        document.from_toml(text)
    assert str(caught.value).startswith(sentence)


def test_a_comment_may_have_the_name_of_a_section_in_it() -> None:
    route = {"group": "239.1.1.1", "iif": "route", "oifs": ["membership"], "comment": '"route"'}
    assert len(document.from_json(json.dumps({"route": [route]})).routes) == 1


def test_a_byte_order_mark_of_json_is_no_part_of_it() -> None:
    for data in ("\ufeff{}", b"\xef\xbb\xbf{}"):
        assert document.from_json(data).empty


PREFIXES = """\
[[membership]]
group = "ff3e::1"
interface = "eth1"

[[membership]]
source = "10.0.0.0/31"
group = "232.1.1.0/31"
interface = "eth1"
comment = "channels"
persistent = false

[[membership]]
group = "239.1.1.1"
interface = "eth1"
"""


def test_a_membership_of_a_prefix_is_one_of_each_of_its_groups() -> None:
    read = document.from_toml(PREFIXES)
    assert [str(each) for each in read.memberships] == [
        "(*, ff3e::1) on 'eth1'",
        *[f"(10.0.0.{s}, 232.1.1.{g}) on 'eth1'" for g in (0, 1) for s in (0, 1)],
        "(*, 239.1.1.1) on 'eth1'",
    ]
    assert all((m.comment, m.persistent) == ("channels", False) for m in read.memberships[1:5])
    assert read.places == [0, 1, 1, 1, 1, 2]
    assert document.to_toml([], read.joins) == PREFIXES


@pytest.mark.parametrize(
    ("group", "problem"),
    [
        ("239.1.0.0/21", "membership[1]: (*, 239.1.0.0/21) stands for 2048 memberships, and at mo"),
        ("239.1.1.0/30", "membership[1]: (*, 239.1.1.2) on 'eth1' is in membership[0] already"),
        ("239.1.1.1/30", "membership[1]: Group '239.1.1.1/30' has bits after its prefix"),
    ],
)
def test_what_is_wrong_with_a_membership_of_a_prefix_is_told_with_its_path(
    group: str, problem: str
) -> None:
    entries = [{"group": each, "interface": "eth1"} for each in ("239.1.1.2", group)]
    with pytest.raises(RequestError) as caught:
        document.from_json(json.dumps({"membership": entries}))
    assert str(caught.value).startswith(problem)


def test_a_document_stands_for_no_more_memberships_than_can_be_held() -> None:
    entries = [{"group": f"239.{n}.0.0/22", "interface": "eth1"} for n in range(100)]
    with pytest.raises(LimitExceeded, match=r"^membership\[64\]: These are more than 65536 memb"):
        document.from_json(json.dumps({"membership": entries}))
