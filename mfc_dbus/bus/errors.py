"""The errors of a connection to a bus, and of calls over it."""


class BusError(Exception):
    """An error that answers a call; `name` is its name on the bus."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message or name)
        self.name = name
        self.message = message


class ConnectionLost(Exception):
    """The bus has gone, or has sent something that is not D-Bus."""


class NameTaken(Exception):
    """Another process owns the name."""


class DecodeError(Exception):
    """The body of a message cannot be decoded."""
