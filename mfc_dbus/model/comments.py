"""The comments of routes and memberships (pure)."""

from mfc_dbus.model.errors import InvalidArgs

MAX_COMMENT = 200


def check_comment(comment: str) -> None:
    """Raise InvalidArgs where a comment is too long, or not text for one line."""
    if len(comment) > MAX_COMMENT:
        raise InvalidArgs(f"The comment has {len(comment)} characters, {MAX_COMMENT} are allowed")
    if not comment.isprintable():
        raise InvalidArgs("The comment has control characters")
