"""The error of the client."""

import contextlib
from collections.abc import Iterator

# Nobody knows; and where the kernel refuses to leave groups, all else is done.
_MAY_BE_DONE = ("Timeout", "NoReply", "Disconnected", "BadReply", "KernelError")


class ClientError(Exception):
    """A call that failed; the text is a sentence.

    name: the error's name on the bus, without the prefix of the service ("RouteExists") or of
    D-Bus ("AccessDenied"). Made here: Timeout, NoServer (there is no bus, or it refused us),
    Disconnected (the bus has gone), BadReply (the service is not the one that we know).
    """

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name

    @property
    def may_be_done(self) -> bool:
        """Whether what was asked for may be done all the same, or most of it."""
        return self.name in _MAY_BE_DONE


@contextlib.contextmanager
def bad_reply() -> Iterator[None]:
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        sentence = "The service says what this program does not understand: is it another version?"
        raise ClientError("BadReply", sentence) from error
