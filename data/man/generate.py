"""Write a manual page: `generate.py TEMPLATE VERSION`, to stdout.

A template is mdoc. A line such as @commands@ in it stands for what the tables of the package tell,
which is written here, so that pages and program say the same.
"""

import argparse
import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from xml.etree import ElementTree

from mfc_dbus.cli.arguments import COMMANDS, COMMON, EXITS, PROGRAM, Command, make_parser
from mfc_dbus.config.settings import SETTINGS
from mfc_dbus.daemon.arguments import make_parser as make_daemon_parser
from mfc_dbus.dispatcher.arguments import make_parser as make_dispatcher_parser
from mfc_dbus.documents.entries import json_schema
from mfc_dbus.metrics.arguments import make_parser as make_exporter_parser
from mfc_dbus.model.members import METHODS, Action
from mfc_dbus.names import INTERFACE

CONTRACT = Path(__file__).parents[1] / f"{INTERFACE}.xml"
_WIDTH = 78
_GLYPHS = {"\\": "\\e", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti", "-": "\\-"}
# A line of a list within a text: "  name   what it is".
_ITEM = re.compile(r"  (\S+(?: \S+)*?) {2,}(\S.*)")
_LONG_ITEM = re.compile(r"  (\S{11}) (\S.*)")


def fill(template: str, version: str) -> str:
    """Return the page of a template. Raises KeyError for a name that stands for nothing."""
    lines: list[str] = []
    for line in template.splitlines():
        name = re.fullmatch(r"@(\w+)@", line)
        lines += PARTS[name[1]]() if name else [line.replace("@version@", version)]
    # A list or a display begins a paragraph by itself.
    return "".join(
        f"{line}\n"
        for line, after in pairwise([*lines, ""])
        if line != ".Pp" or not after.startswith((".Bl", ".Bd", ".Pp", ".Ss", ".Sh"))
    )


# mdoc


def escape(text: str) -> str:
    """Have each character of a text stand for itself."""
    return "".join(_GLYPHS.get(char, char) for char in text)


def argument(text: str) -> str:
    """Make a text one argument of a macro, which is never another macro."""
    return f'"\\&{escape(text)}"'.replace("|", "\\(ba") if text else ""


def prose(text: str) -> Iterator[str]:
    """Write a paragraph as mdoc wants it: each sentence begins a line."""
    text = " ".join(re.sub(r"(?<=\S) {2,}", ", ", text).split())  # what stood in columns
    for sentence in re.split(r"(?<=[.:;!?)])\s+(?=[A-Z(])", text):
        lines = textwrap.wrap(
            escape(sentence), _WIDTH, break_long_words=False, break_on_hyphens=False
        )
        # A full stop within a sentence does not end it, be it at the end of a line.
        whole = [re.sub(r"([.!?]\W*)$", r"\1\\&", line) for line in lines[:-1]]
        for line in [*whole, *lines[-1:]]:
            yield f"\\&{line}" if line.startswith(".") else line


def literal(lines: Iterable[str]) -> Iterator[str]:
    """Write lines as they are."""
    yield ".Bd -literal"
    for line in lines:
        shown = escape(line.rstrip())
        yield f"\\&{shown}" if shown.startswith(".") else shown
    yield ".Ed"


def tagged(items: Iterable[tuple[str, str]], width: str = "Ds") -> Iterator[str]:
    """Write a list of terms, which are mdoc, and of texts that tell of them."""
    items = [*items]
    if items:
        yield f".Bl -tag -width {width}"
        for term, text in items:
            yield f".It {term}"
            yield from prose(text)
        yield ".El"


def text(source: str) -> Iterator[str]:
    """Write the text of a help: paragraphs, lists, and lines to be left as they are."""
    for number, block in enumerate(re.split(r"\n\n+", source.strip("\n"))):
        if number:
            yield ".Pp"
        yield from _block(block.splitlines())


def _block(lines: Sequence[str]) -> Iterator[str]:
    """Write a paragraph, in which indented lines are a list, or stay as they are."""
    for is_indented, group in groupby(lines, lambda line: line.startswith("  ")):
        some = [*group]
        if not is_indented:
            yield from prose(" ".join(some))
        elif _ITEM.fullmatch(some[0]):
            yield from tagged(_items(some))
        else:
            yield from literal(some)


def _items(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Read a list. A name may be so long that one blank parts it from its text."""
    name, told = "", ""
    for line in lines:
        item = _ITEM.fullmatch(line) or _LONG_ITEM.fullmatch(line)
        if item and name:
            yield argument(name), told
        name, told = (item[1], item[2]) if item else (name, f"{told} {line.strip()}")
    yield argument(name), told


# The command line


def commands() -> Iterator[str]:
    """Write a section for each verb."""
    for words, command in _verbs(COMMANDS):
        if command.defaults:
            yield f".Ss {argument(' '.join(words))}"
            yield from prose(f"Show {command.summary}, as {command.module} does.")
            continue
        parser = make_parser(" ".join([PROGRAM, *words]), command, set())
        yield f".Ss {argument(' '.join(words))}"
        yield from literal([re.sub(r"\[OPTION\.\.\.\] ?", "", parser.usage or "").rstrip()])
        yield ".Pp"
        yield from text(parser.description or "")
        yield from options(parser)
        examples = (parser.epilog or "").removeprefix("examples:\n").removesuffix(EXITS).rstrip()
        yield ".Pp"
        yield "Examples:"
        yield from literal(examples.splitlines())


def _verbs(
    command: Command, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Command]]:
    for word, each in command.words.items():
        yield from _verbs(each, (*words, word)) if each.words else [((*words, word), each)]


def options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Write the arguments and options of a parser that are its own."""
    common = {id(each) for group in _common(parser) for each in group._group_actions}
    own = [
        action
        for action in parser._actions
        if id(action) not in common and action.help != argparse.SUPPRESS and action.dest != "help"
    ]
    if own:
        yield ".Pp"
        yield from tagged((_term(action), action.help or "") for action in own)


def common_options() -> Iterator[str]:
    (group,) = _common(make_parser(PROGRAM, COMMANDS, set()))
    yield from tagged((_term(action), action.help or "") for action in group._group_actions)


def _common(parser: argparse.ArgumentParser) -> list[argparse._ArgumentGroup]:
    return [group for group in parser._action_groups if group.title == COMMON]


def _term(action: argparse.Action) -> str:
    """Write the words of an option and its value, or an argument's name."""
    value = str(action.metavar or action.dest.upper()) if action.nargs != 0 else ""
    if action.choices:
        value = "|".join(map(str, action.choices))
    if value and action.nargs in ("+", "*"):
        value += "..."
    if not action.option_strings:
        return f"Ar {argument(value)}"
    flags = " , ".join(f"Fl {escape(word[1:])}" for word in action.option_strings)
    return f"{flags} Ar {argument(value)}" if value else flags


def exits() -> Iterator[str]:
    """Write the exit statuses of the command line."""
    found = re.findall(r"(\d) (\S+(?: \S+)*)", EXITS.partition("\n")[2])
    yield from tagged(found)


def examples() -> Iterator[str]:
    yield from literal(COMMANDS.examples.rstrip().splitlines())


# The service


def daemon_options() -> Iterator[str]:
    yield from options(make_daemon_parser())


def daemon_exits() -> Iterator[str]:
    _, _, listed = (make_daemon_parser().epilog or "").partition("exit status:\n")
    yield from text(listed)


def dispatcher_options() -> Iterator[str]:
    yield from options(make_dispatcher_parser())


def dispatcher_exits() -> Iterator[str]:
    _, _, listed = (make_dispatcher_parser().epilog or "").partition("exit status:\n")
    yield from text(listed)


def exporter_options() -> Iterator[str]:
    yield from options(make_exporter_parser())


def exporter_exits() -> Iterator[str]:
    _, _, listed = (make_exporter_parser().epilog or "").partition("exit status:\n")
    yield from text(listed)


def settings() -> Iterator[str]:
    """Write all settings, with the table each is in and its default."""
    yield ".Bl -tag -width Ds"
    section = ""
    for key, setting in SETTINGS.items():
        if key[1:] and key[0] != section:
            section = key[0]
            yield f".It Sy {argument(f'[{section}]')}"
        yield f".It {argument('.'.join(key[1:] or key))} = Ar {argument(setting.value)}"
        yield from prose(setting.meaning)
        yield from prose(f"Default: {setting.default}.")
    yield ".El"


def document() -> Iterator[str]:
    """Write what the entries of a document have, from its schema."""
    definitions = json.loads(json_schema())["$defs"]
    for section, name in (("route", "RouteEntry"), ("membership", "MembershipEntry")):
        entry = definitions[name]
        yield f".Ss {argument(f'[[{section}]] entries')}"
        yield from prose(entry["description"])
        yield ".Pp"
        yield ".Bl -tag -width Ds"
        for field, about in entry["properties"].items():
            kind = _type(about) + (", required" if field in entry["required"] else "")
            yield f".It {argument(field)} ( {argument(kind)} )"
            yield from prose(f"{about['description']}.")
            for example in about.get("examples", ()):
                yield from prose(f"Example: {_toml(example)}")
        yield ".El"


def _type(about: Mapping[str, object]) -> str:
    kinds = {"integer": "number", "boolean": "true or false", "object": "table"}
    kind = str(about["type"])
    return kinds.get(kind, kind)


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{name} = {_toml(each)}' for name, each in value.items())} }}"
    return json.dumps(value)


# D-Bus


def introduction() -> Iterator[str]:
    """Write what the interface file tells above its first member."""
    before, _, _ = CONTRACT.read_text().partition("<node>")
    _, _, comment = before.partition("<!--")
    yield from text(textwrap.dedent(comment.partition("-->")[0]))


def methods() -> Iterator[str]:
    yield from _members("method")


def properties() -> Iterator[str]:
    yield from _members("property")


def signals() -> Iterator[str]:
    yield from _members("signal")


def _members(tag: str) -> Iterator[str]:
    builder = ElementTree.TreeBuilder(insert_comments=True)
    root = ElementTree.parse(CONTRACT, ElementTree.XMLParser(target=builder)).getroot()
    about = ""
    for node in root.find("interface") or ():
        if callable(node.tag):  # a comment
            about = " ".join((node.text or "").split())
        elif node.tag == tag:
            name = node.attrib["name"]
            yield f".Ss {argument(name)}"
            yield from literal([_signature(node)])
            yield ".Pp"
            told, *arguments = re.split(r" @(?=\w+: )", about.removeprefix(f"{name}: "))
            arguments = [each.replace(" @", " ") for each in arguments]
            yield from prose(f"{told[:1].upper()}{told[1:]}")
            items = (each.partition(": ")[::2] for each in arguments)
            if arguments:
                yield ".Pp"
            yield from tagged((f"Ar {argument(name)}", told) for name, told in items)


def _signature(node: ElementTree.Element) -> str:
    if node.tag == "property":
        return f"{node.attrib['name']}  {node.attrib['type']}"
    ways: dict[str, list[str]] = {"in": [], "out": []}
    for arg in node.iter("arg"):
        ways[arg.get("direction", "in")].append(f"{arg.attrib['type']} {arg.attrib['name']}")
    back = f" -> ({', '.join(ways['out'])})" if ways["out"] else ""
    return f"{node.attrib['name']}({', '.join(ways['in'])}){back}"


def actions() -> Iterator[str]:
    """Write which methods need which of polkit's actions."""
    for action in Action:
        members = [name for name, each in METHODS.items() if each.action == action]
        named = [name.removeprefix(f"{INTERFACE}.") for name in members if INTERFACE in name]
        if action and named:
            yield from tagged([(argument(action), f"{', '.join(named)}.")])


PARTS: Mapping[str, Callable[[], Iterator[str]]] = {
    each.__name__: each
    for each in (
        *(commands, common_options, exits, examples, daemon_options, daemon_exits, settings),
        *(dispatcher_options, dispatcher_exits, exporter_options, exporter_exits),
        *(document, introduction, methods, properties, signals, actions),
    )
}

if __name__ == "__main__":
    print(fill(Path(sys.argv[1]).read_text(), sys.argv[2]), end="")
