"""What a call on the bus becomes before anybody is asked whether it may be done."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from mfc_dbus.bus.backend import Body, Variant
from mfc_dbus.bus.calls import Call
from mfc_dbus.control.rights import Question
from mfc_dbus.model.errors import InvalidArgs
from mfc_dbus.model.members import Action
from mfc_dbus.model.quoting import join, quote


async def _nothing() -> Mapping[Action, Sequence[Question]]:
    return {}


class Request(NamedTuple):
    """A call that was parsed and validated.

    act: does what was asked for, when the caller is authorised, and returns the reply's body.
    questions: what polkit must say yes to first. more: returns what else it must say yes to for
    `act`, which asks that itself, since it takes long to find out.
    """

    act: Callable[[], Awaitable[Body]]
    questions: Sequence[Question] = ()
    more: Callable[[], Awaitable[Mapping[Action, Sequence[Question]]]] = _nothing


# Parses and validates a call. Raises RequestError or BusError.
Prepare = Callable[[Call], Request]


def answer(read: Callable[[], Body], questions: Sequence[Question] = ()) -> Request:
    """Make a request whose answer is read at once."""

    async def act() -> Body:
        return read()

    return Request(act, questions)


def read_options(options: Mapping[str, Variant], known: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of a call's options. Raises InvalidArgs.

    known: the signatures of all options that the method has.
    """
    for name, variant in options.items():
        if name not in known:
            others = f"; there are {join(known)}" if known else ""
            raise InvalidArgs(f"There is no option {quote(name)}{others}")
        if variant.signature != known[name]:
            raise InvalidArgs(
                f"Option {quote(name)} has type '{variant.signature}', and not '{known[name]}'"
            )
    return {name: variant.value for name, variant in options.items()}
