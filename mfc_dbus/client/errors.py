"""The error of the client."""

import contextlib
from collections.abc import Iterator


class ClientError(Exception):
    """A call that failed; the text is a sentence.

    name: the error's name on the bus, without the prefix of the service ("RouteExists") or of
    D-Bus ("AccessDenied"). Made here: Timeout, NoServer (there is no bus, or it refused us),
    Disconnected (the bus has gone), BadReply (the service is not the one that we know).
    """

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


@contextlib.contextmanager
def bad_reply() -> Iterator[None]:
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        sentence = "The service says what this program does not understand: is it another version?"
        raise ClientError("BadReply", sentence) from error
