"""Tables as text."""

Rows = list[tuple[str, ...]]


def markdown(rows: Rows) -> list[str]:
    """Write a table as lines of Markdown. The first row names the columns."""
    lines = (rows[0], ["---"] * len(rows[0]), *rows[1:])
    return ["| " + " | ".join(line) + " |" for line in lines]
