"""What the interface file tells of each member, for tests that hold it against the code."""

import re
from itertools import pairwise
from xml.etree import ElementTree

from lab.bus import DATA

# With its comments.
CONTRACT = ElementTree.parse(
    DATA / "org.example.MulticastForwarding.xml",
    ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True)),
).getroot()
_NAMED = re.compile(r'"([a-z][a-z0-9-]*)"( (?:[bdstuy]|a[sy]|a\{sy\}))?(?![\w{])')


def documentation() -> dict[str, str]:
    """Get the comment above each member of our own interface, by the member's name."""
    node = CONTRACT.find("interface")
    assert node is not None
    return {
        member.attrib["name"]: " ".join((comment.text or "").split())
        for comment, member in pairwise(node)
        if callable(comment.tag)  # that of a comment is the function which makes one
    }


def about(member: str, argument: str = "") -> str:
    """Get what is told of a member, or of one of its arguments."""
    told = documentation()[member]
    return told.partition(f"@{argument}: ")[2].partition(" @")[0] if argument else told


def entries(text: str) -> dict[str, str]:
    """Find what is written as "name" and a signature."""
    return {name: signature.strip() for name, signature in _NAMED.findall(text) if signature}


def words(text: str) -> set[str]:
    """Find what is written in quotation marks, and with no signature."""
    return {name for name, signature in _NAMED.findall(text) if not signature}
