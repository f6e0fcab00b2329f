"""The parser of one command: argparse, with errors that say what to type instead."""

import argparse
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

_NUMBER = re.compile(r"-[0-9.]+")  # argparse takes it for a value


class UsageError(Exception):
    """The command line makes no sense; the text is a sentence."""


class Parser(argparse.ArgumentParser):
    """Parses the options and words of a command.

    given: the names of the options that were given so far, also to the parsers of the words before
    this one; of those that take one value, each may be given once.
    """

    def __init__(self, given: set[str], **options: Any) -> None:
        super().__init__(formatter_class=_Formatter, allow_abbrev=False, **options)
        self.given = given
        self._words: Sequence[str] = ()
        for action in (None, "store"):
            self.register("action", action, _Once)

    def parse_whole(self, words: Sequence[str], args: argparse.Namespace) -> None:
        """Parse words of which none is left for another parser. Raises UsageError."""
        self._words = words
        self.parse_intermixed_args(words, args)

    def format_help(self) -> str:
        self.formatter_class = partial(_Formatter, width=None)  # the width of the terminal
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        known = self._option_string_actions
        unknown = next((word for word in self._words if _is_option_beside(word, known)), "")
        if unknown and "required" in message:  # what is missing may be what was misspelled
            message = f"unrecognized arguments: {unknown}"
        if message.startswith("unrecognized arguments: -"):
            word = message.split(maxsplit=2)[2].split()[0]
            message += did_you_mean(word.partition("=")[0], {each: each for each in known})
        raise UsageError(f"{message} (see {self.prog} --help)")


def _is_option_beside(word: str, known: Iterable[str]) -> bool:
    """Return whether argparse takes a word for an option, which is none of the known ones."""
    if len(word) < 2 or word[0] != "-" or " " in word or _NUMBER.fullmatch(word):
        return False
    return (word.partition("=")[0] if word.startswith("--") else word[:2]) not in known


def did_you_mean(word: str, known: Mapping[str, str]) -> str:
    """Return the question whether a word was meant that is spelled much like this one.

    known: what may be meant, by its spelling. The text is empty where nothing is near.
    """
    from difflib import get_close_matches

    near = get_close_matches(word, known, n=1)
    return f": did you mean '{known[near[0]]}'?" if near else ""


class _Once(argparse.Action):
    """Stores the value of an argument, and of an option only once."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        if option_string:
            assert isinstance(parser, Parser)
            if self.dest in parser.given:
                raise argparse.ArgumentError(self, "it is given twice")
            parser.given.add(self.dest)
        setattr(namespace, self.dest, values)


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Lays out help. argparse also makes one for each argument: it must look for no terminal."""

    def __init__(self, prog: str, width: int | None = 80) -> None:
        super().__init__(prog, width=width)
