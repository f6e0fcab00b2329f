"""Explains the wrong values of a document in words, by the types of the schema (pure)."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, NamedTuple, get_args, get_origin

import msgspec
from msgspec import Struct

from mfc_dbus.documents import toml_text
from mfc_dbus.model.errors import InvalidArgs
from mfc_dbus.model.problems import KeyPath
from mfc_dbus.model.quoting import shorten

_WRONG = (msgspec.MsgspecError, RecursionError, UnicodeError)
_TYPES = {
    str: "a string",
    int: "a whole number",
    bool: "true or false",
    list[str]: "an array of strings",
}


class Words(NamedTuple):
    """How sentences speak of one form of a document.

    mapping: the form's word for a mapping. write: writes a value. key, section: how a key with its
    value, and a section with an entry in it, are written.
    """

    mapping: str
    write: Callable[[Any], str]
    key: str
    section: str

    def show(self, value: Any) -> str:
        """Write a value for a sentence, shortened."""
        try:
            return shorten(self.write(value))
        except TypeError:  # a date
            return shorten(str(value))
        except (ValueError, RecursionError):  # it is nested too deeply
            return "This"

    def no_array(self, value: Any, name: str) -> str:
        return f"{self.show(value)} is not an array: write {self.section.format(name)}"


JSON_WORDS = Words(
    mapping="an object",
    write=lambda value: json.dumps(value, ensure_ascii=False),
    key='"{}": {}',
    section='"{0}": [{{...}}], an array of objects',
)
TOML_WORDS = Words(
    mapping="a table",
    write=toml_text.write,
    key="{} = {}",
    section="[[{0}]], with two brackets, above the keys of each {0}",
)


def what_is_no_json(text: str) -> str:
    """Return why a text is no JSON object. The standard parser, unlike msgspec's, says where."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        return f"line {error.lineno}: This is not JSON: {error.msg}, at column {error.colno}"
    except RecursionError:
        return "The document is nested too deeply"
    except ValueError as error:
        return f"The document is not JSON: {error}"
    if not isinstance(value, dict):
        return f'{JSON_WORDS.show(value)} is not an object, such as {{"route": []}}'
    return "The document is not JSON"


def check_repeated(text: str, sections: Iterable[str]) -> None:
    """Raise InvalidArgs where a section is there twice: a decoder would take the last one."""
    suspected = [name for name in sections if text.count(f'"{name}"') > 1]
    if not suspected:
        return
    names: list[str] = []

    def keep(pairs: list[tuple[str, Any]]) -> None:  # the outermost object is the last
        names[:] = [name for name, _ in pairs]

    try:
        json.loads(text, object_pairs_hook=keep)
    except RecursionError:
        raise InvalidArgs("The document is nested too deeply") from None
    for name in suspected:
        if names.count(name) > 1:
            raise InvalidArgs(f"{name}: is there twice; write it once")


def explain(
    value: Any, name: str, entry: type[Struct], words: Words
) -> Iterator[tuple[KeyPath, str]]:
    """Yield path and sentence of each problem of a value that is no entry of the section `name`."""
    if not isinstance(value, dict):
        written = words.section.format(name)
        yield (), f"{words.show(value)} is not {words.mapping}: write {written}"
        return
    fields = {each.name: each for each in msgspec.structs.fields(entry)}
    for key in value:
        if key not in fields:
            yield (key,), f"is not known; there are {', '.join(fields)}"
    for key, each in fields.items():
        if key in value:
            found = _mistyped(value[key], each.type, words)
            yield from (((key, *path), sentence) for path, sentence in found)
        elif each.required:
            written = words.key.format(key, words.write(_example(each.type)))
            yield (key,), f"is missing: write {written}"


def _mistyped(value: Any, type_: Any, words: Words) -> Iterator[tuple[KeyPath, str]]:
    plain = get_args(type_)[0] if get_origin(type_) is Annotated else type_
    if isinstance(value, dict) and get_origin(plain) is dict:
        inner = get_args(plain)[1]
        for key, each in value.items():
            yield from (((key, *path), text) for path, text in _mistyped(each, inner, words))
        return
    try:
        msgspec.convert(value, type_)
    except _WRONG:
        expected = _TYPES.get(plain) or f"{words.mapping} of oifs and their thresholds"
        example = _example(type_)
        such = "" if example is None else f", such as {words.write(example)}"
        yield (), f"{words.show(value)} is not {expected}{such}"


def _example(type_: Any) -> Any:
    """Return the example that a type is annotated with, or None."""
    comments = get_args(type_)[1:] if get_origin(type_) is Annotated else ()
    return next((each.examples[0] for each in comments if each.examples), None)
