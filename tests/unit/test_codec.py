"""Our own encoding of bodies, beside that of a library."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfc_dbus.bus import backend, codec
from mfc_dbus.bus.codec import Variant
from mfc_dbus.bus.errors import DecodeError

Typed = tuple[str, Any]  # a single type and a value of it

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
BASIC: dict[str, st.SearchStrategy[Any]] = {
    "y": st.integers(0, 2**8 - 1),
    "n": st.integers(-(2**15), 2**15 - 1),
    "q": st.integers(0, 2**16 - 1),
    "b": st.booleans(),
    "i": st.integers(-(2**31), 2**31 - 1),
    "u": st.integers(0, 2**32 - 1),
    "x": st.integers(-(2**63), 2**63 - 1),
    "t": st.integers(0, 2**64 - 1),
    "d": st.floats(allow_nan=False),
    "s": TEXT,
    "o": st.just("/a/b"),
    "g": st.sampled_from(["", "s", "a{sv}"]),
}


def of_type(type_: str, inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Any]:
    """Values of a type; inner: what its variants hold."""
    if type_ in BASIC:
        return BASIC[type_]
    if type_ == "v":
        return inner.map(lambda typed: Variant(*typed))
    if type_ == "ay":
        return st.binary(max_size=3)
    if type_.startswith("a{"):
        return st.dictionaries(BASIC[type_[2]], of_type(type_[3:-1], inner), max_size=3)
    if type_.startswith("a"):
        return st.lists(of_type(type_[1:], inner), max_size=3)
    return st.tuples(*(of_type(each, inner) for each in codec.types(type_[1:-1]))).map(list)


TYPES = st.recursive(
    st.sampled_from([*BASIC, "v"]),
    lambda inner: st.one_of(
        inner.map("a{}".format),
        st.tuples(st.sampled_from(list(BASIC)), inner).map(lambda pair: f"a{{{''.join(pair)}}}"),
        st.lists(inner, min_size=1, max_size=3).map(lambda types: f"({''.join(types)})"),
    ),
    max_leaves=4,
)
PLAIN = st.sampled_from(list(BASIC)).flatmap(lambda one: BASIC[one].map(lambda it: (one, it)))
TYPED = TYPES.flatmap(lambda type_: of_type(type_, PLAIN).map(lambda value: (type_, value)))


def for_library(type_: str, value: Any) -> Any:
    """The same value, with the variants of the library."""
    if type_ == "v":
        return backend.Variant(value.signature, for_library(*value))
    if type_.startswith("a{"):
        return {key: for_library(type_[3:-1], each) for key, each in value.items()}
    if type_.startswith("a") and type_ != "ay":
        return [for_library(type_[1:], each) for each in value]
    if type_.startswith("("):
        return [for_library(*pair) for pair in zip(codec.types(type_[1:-1]), value, strict=True)]
    return value


@given(st.lists(TYPED, max_size=3))
def test_what_is_encoded_is_what_a_library_encodes_and_can_be_decoded(body: list[Typed]) -> None:
    signature = "".join(type_ for type_, _ in body)
    values = [value for _, value in body]
    encoded = codec.encode(signature, values)
    assert encoded == backend.encode(signature, [for_library(*typed) for typed in body])
    assert codec.decode(signature, encoded) == values


def test_the_other_byte_order_is_read_too() -> None:
    body = struct.pack(">I3sxIH", 2, b"ab", 2, 7)
    assert codec.decode("saq", body, ">") == ["ab", [7]]


@given(st.sampled_from(["s", "v", "as", "a{sv}", "(sv)", "ay", "g", "av"]), st.binary(max_size=40))
def test_any_bytes_are_values_or_an_error(signature: str, body: bytes) -> None:
    try:
        values = codec.decode(signature, body)
    except DecodeError:
        return
    assert len(values) == len(codec.types(signature))


@pytest.mark.parametrize("signature", ["a", "(s", "a{s", "z", "a{sv", "vv"])
def test_a_signature_that_makes_no_sense_is_an_error(signature: str) -> None:
    with pytest.raises(DecodeError):
        codec.decode(signature, bytes(3))


def test_what_is_nested_too_deeply_is_an_error() -> None:
    with pytest.raises(DecodeError):
        codec.decode("v", b"\1v\0" * 2000 + b"\1y\0\7")
    assert codec.decode("v", b"\1v\0\1y\0\7") == [Variant("v", Variant("y", 7))]


@pytest.mark.parametrize(
    ("signature", "body"),
    [("ayas", [bytes(5), [""]]), ("sas", ["", ["", "a"]]), ("as", [["", "a"]])],
)
def test_an_array_is_not_taken_for_one_of_the_same_bytes_elsewhere(
    signature: str, body: list[Any]
) -> None:
    encoded = codec.encode(signature, body)
    assert codec.decode(signature, encoded) == body
    assert codec.decode(signature, encoded) == body


def test_a_long_array_is_no_short_one() -> None:
    for values in (["a"] * 9, ["b"] * 999, [], ["c"] * 999, ["a"] * 9):
        assert codec.decode("as", codec.encode("as", [values])) == [values]
