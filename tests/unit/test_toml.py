"""What of a TOML text may be large, and what is refused before it takes its time."""

from typing import Any

import pytest

from mfc_dbus.documents import document, expectations, toml_text
from mfc_dbus.documents.problem_lines import with_lines
from mfc_dbus.model.errors import InvalidArgs


@pytest.mark.parametrize(
    "text", ["a.{} = 1", "[a.{}]", "[[a.{}]]", "route = [{{ a.{} = 1 }}]", "a .{} = 1"]
)
def test_a_key_with_very_many_dots_is_refused_before_it_takes_its_time(text: str) -> None:
    text = "# a.b\n\n" + text.format(".".join("a" * 100_000))
    with pytest.raises(InvalidArgs, match=r"^line 3: .* is not TOML: A key has more than 10 dots"):
        document.from_toml(text)


DOTS = """\
# 1.2.3.4.5.6.7.8.9.10.11.12.13 ...........
[[route]]
group = "239.1.1.1"
iif = "a.1.1.1.1.1.1.1.1.1.1.1.1"
oifs = []
comment = '''1.2.3.4.5.6.7.8.9.10.11.12
"13.14'''
"""


def test_dots_that_are_in_no_key_are_none_of_a_key() -> None:
    with pytest.raises(InvalidArgs, match=r"^line 2: route.0.: 'a.1.* is not an interface name$"):
        document.from_toml(DOTS)
    routes = (
        f"{{ group = '239.1.1.{n}', iif = 'a', oifs = ['b'], ttls.b = 2 }}" for n in range(99)
    )
    assert len(document.from_toml(f"route = [{', '.join(routes)}]").routes) == 99


@pytest.mark.parametrize(
    "text",
    ['"""\\', '"\\', "'''a''", "'", '"""a\n', "{[", "[a]\n[", "a = [1\n", "\"\"\" ]'''"],
)
def test_what_never_ends_is_looked_through_once(text: str) -> None:
    """Every quote could begin a string that goes to the end: the time would be its square."""
    with pytest.raises(InvalidArgs):
        document.from_toml("a = " + text * 50_000)


@pytest.mark.parametrize("text", ["[" * 4000, "{a = " * 4000])
def test_what_is_nested_very_deeply_is_told_in_words(text: str) -> None:
    with pytest.raises(InvalidArgs, match=r"^line 2: .* is not TOML: It is nested too deeply$"):
        document.from_toml(f"\na = {text}\n")


def test_very_many_mistakes_are_not_counted_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    explain = expectations.explain

    def count(*args: Any) -> Any:
        looked.append(args)
        return explain(*args)

    monkeypatch.setattr(document, "explain", count)
    for text in ("[[route]]\n", "x y\n", "[a{}]\n"):
        with pytest.raises(InvalidArgs, match=r"and at least 98\d more$"):
            document.from_toml("".join(text.format(n) for n in range(2_000)))
    assert len(looked) < 400


def test_each_header_is_parsed_once_to_find_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    text = '[[route]]\ngroup = "239.1.1.1"\niif = "eth1"\noifs = []\n' * 1000
    parsed = []
    keys = toml_text._keys

    def count(statement: str, *args: Any) -> Any:
        parsed.append(statement)
        return keys(statement, *args)

    monkeypatch.setattr(toml_text, "_keys", count)
    for index in (0, 999):
        parsed.clear()
        assert with_lines(f"route[{index}].iif: bad", text) == (
            f"line {4 * index + 3}: route[{index}].iif: bad"
        )
        assert len(parsed) < 10
