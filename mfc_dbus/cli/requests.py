"""Parses the lines of a batch, and checks the types of what they ask for."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from mfc_dbus.cli.text import on_bus
from mfc_dbus.model.options import ADD_ROUTE, CHANGE_ROUTE, JOIN_GROUP, TABLE, Option

MAX_LINE = 1024 * 1024


class InvalidRequest(Exception):
    """A line that is no valid request; the text is a sentence. action: the line's, if known."""

    def __init__(self, sentence: str, action: str | None = None) -> None:
        super().__init__(sentence)
        self.action = action


class BatchRequest(NamedTuple):
    """An action, and its payload by the names of the client's parameters."""

    action: str
    payload: Mapping[str, Any]


class _Kind(NamedTuple):
    name: str
    holds: Callable[[Any], bool]


class _Fields(NamedTuple):
    required: Mapping[str, _Kind]
    optional: Mapping[str, _Kind]


_STRING = _Kind("a string that D-Bus can carry", lambda it: isinstance(it, str) and on_bus(it))
_BOOLEAN = _Kind("true or false", lambda it: isinstance(it, bool))
_STRINGS = _Kind(
    "an array of strings that D-Bus can carry",
    lambda it: isinstance(it, list) and all(map(_STRING.holds, it)),
)
_THRESHOLDS = _Kind(
    "an object of numbers from 0 to 255",
    lambda it: (
        isinstance(it, dict)
        and all(map(_STRING.holds, it))
        and all(type(ttl) is int and 0 <= ttl <= 255 for ttl in it.values())
    ),
)


def _kinds(options: Iterable[Option]) -> Mapping[str, _Kind]:
    """Return the kind of each option's value, by its name."""
    kinds = {"s": _STRING, "as": _STRINGS, "b": _BOOLEAN, "a{sy}": _THRESHOLDS}
    return {
        option.name: kinds.get(option.signature) or _Kind(option.kind, _is_number)
        for option in options
    }


def _is_number(it: object) -> bool:
    return type(it) is int and 0 <= it < 2**32


_ACTIONS = {
    "ADD_MFC": _Fields(
        {"group": _STRING, "iif": _STRING, "oifs": _STRINGS},
        {"source": _STRING, **_kinds(ADD_ROUTE)},
    ),
    "CHANGE_MFC": _Fields(
        {"group": _STRING},
        {"source": _STRING, "iif": _STRING, **_kinds([TABLE, *CHANGE_ROUTE])},
    ),
    "DEL_MFC": _Fields({"group": _STRING}, {"source": _STRING, "iif": _STRING, **_kinds([TABLE])}),
    "JOIN_GROUP": _Fields(
        {"group": _STRING, "interface": _STRING},
        {"source": _STRING, **_kinds(JOIN_GROUP)},
    ),
    "LEAVE_GROUP": _Fields({"group": _STRING, "interface": _STRING}, {"source": _STRING}),
    "SHOW": _Fields({}, {}),
}


def parse_request(line: bytes | None) -> BatchRequest:
    """Parse a line; None stands for one that was too long. Raises InvalidRequest."""
    if line is None:
        raise InvalidRequest(f"The line is longer than {MAX_LINE} bytes")
    try:
        request = json.loads(line.decode("utf-8-sig"), object_pairs_hook=_object)
    except UnicodeDecodeError:
        raise InvalidRequest("The line is not valid UTF-8") from None
    except RecursionError:
        raise InvalidRequest("The line is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"The line is not JSON: {error.msg}, at {error.colno}") from None
    except ValueError as error:
        raise InvalidRequest(f"The line is not JSON: {error}") from None

    if not isinstance(request, dict):
        raise InvalidRequest("The line is not a JSON object")
    action = request.pop("action", None)
    if not isinstance(action, str) or action not in _ACTIONS:
        raise InvalidRequest(f"'action' is none of {', '.join(_ACTIONS)}")
    payload = request.pop("payload", {})
    if request:
        raise InvalidRequest(f"'{next(iter(request))}' is not known", action)
    if not isinstance(payload, dict):
        raise InvalidRequest("'payload' is not an object", action)
    _check(action, payload)
    return BatchRequest(action, payload)


def _check(action: str, payload: Mapping[str, Any]) -> None:
    required, optional = _ACTIONS[action]
    kinds = {**required, **optional}
    for name, value in payload.items():
        if name not in kinds:
            raise InvalidRequest(f"'{name}' is not known in the payload of {action}", action)
        if not kinds[name].holds(value):
            raise InvalidRequest(f"'{name}' is not {kinds[name].name}", action)
    for name in required:
        if name not in payload:
            raise InvalidRequest(f"'{name}' is missing in the payload", action)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a name is there twice in an object")
    return made
