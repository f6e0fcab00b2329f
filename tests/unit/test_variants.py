"""Variants of types that no option has are found before a library decodes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfc_dbus.bus.backend import Variant, encode
from mfc_dbus.bus.variants import strange

SIMPLE = st.one_of(
    st.builds(Variant, st.just("y"), st.integers(0, 255)),
    st.builds(Variant, st.just("b"), st.booleans()),
    st.builds(Variant, st.just("q"), st.integers(0, 2**16 - 1)),
    st.builds(Variant, st.just("u"), st.integers(0, 2**32 - 1)),
    st.builds(Variant, st.just("x"), st.integers(-(2**63), 2**63 - 1)),
    st.builds(Variant, st.just("g"), st.sampled_from(["", "a{sv}"])),
    st.builds(Variant, st.just("s"), st.text("aé\u20ac", max_size=9)),
    st.builds(Variant, st.just("as"), st.lists(st.text("ab", max_size=9), max_size=3)),
    st.builds(
        Variant,
        st.just("a{sy}"),
        st.dictionaries(st.text("ab", max_size=9), st.integers(0, 255), max_size=3),
    ),
)
OPTIONS = st.dictionaries(st.text("abc", max_size=9), SIMPLE, max_size=5)


@given(st.text("ab", max_size=9), st.lists(st.text("ab", max_size=9), max_size=3), OPTIONS, SIMPLE)
def test_simple_types_pass(
    text: str, texts: list[str], options: dict[str, Variant], value: Variant
) -> None:
    body = encode("sasa{sv}v", [text, texts, options, value])
    assert strange("sasa{sv}v", body, "<") is None


@pytest.mark.parametrize(
    "value",
    [
        Variant("v", Variant("s", "")),
        Variant("(y)", [1]),
        Variant("a((((y))))", []),
        Variant("av", []),
        Variant("aay", []),
    ],
    ids=lambda value: str(value.signature),
)
@given(options=OPTIONS)
def test_other_types_are_named(value: Variant, options: dict[str, Variant]) -> None:
    body = encode("sa{sv}", ["text", {**options, "last": value}])
    assert strange("sa{sv}", body, "<") == ("last", value.signature)
    assert strange("v", encode("v", [value]), "<") == ("", value.signature)


@given(st.integers(0, 40))
def test_a_body_that_is_too_short_is_an_error_or_has_none(length: int) -> None:
    body = encode("sa{sv}", ["text", {"last": Variant("u", 1)}])
    try:
        found = strange("sa{sv}", body[:length], "<")
        assert found is None or not found.type.strip("u")
    except ValueError:
        assert length < len(body)


def test_the_byte_order_is_that_of_the_message() -> None:
    body = bytes.fromhex("00000001 78 000000 0000000a 00000000 00000001 79 00 01 7900 05")
    assert strange("sa{sv}", body, ">") is None
    assert strange("sa{sv}", body.replace(b"\1y\0", b"\1v\0"), ">") == ("v", "v")
