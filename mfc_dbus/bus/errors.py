"""What can go wrong on the way over a bus."""


class BusError(Exception):
    """An error as the answer to a call; `name` is its name on the bus."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message or name)
        self.name = name
        self.message = message


class ConnectionLost(Exception):
    """The bus has gone, or what it sends makes no sense."""


class NameTaken(Exception):
    """Another process owns the name."""
