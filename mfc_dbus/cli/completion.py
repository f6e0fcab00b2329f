"""What may be typed next, for the shells: `mfc-dbus-cli __complete WORD... BEGINNING`.

It follows from the table of commands and from the parsers of their verbs, so a new verb or option
is offered once it can be typed.
"""

import argparse
from collections.abc import Iterator, Sequence

from mfc_dbus.cli.arguments import COMMANDS, PROGRAM, Command, complete, make_parser
from mfc_dbus.cli.parser import Parser, UsageError
from mfc_dbus.cli.values import Offer, Typed, WordToComplete, values


def run(words: Sequence[str]) -> None:
    """Print what the last word may become that follows the others.

    A line is a word, a tab and what it is; or no word, the tab, and "files" or "hosts", where the
    shell is to offer these.
    """
    *before, beginning = words or [""]
    for word, help_ in offers(before, beginning):
        if f"{word}{help_}".isprintable():
            print(f"{word}\t{help_}")


def offers(before: Sequence[str], beginning: str) -> Sequence[Offer]:
    """Return the words that begin so and may follow these: none where these make no sense."""
    place = _Place()
    try:
        for word in before:
            place.follow(word)
        found = dict.fromkeys(place.offers(beginning))
    except UsageError:
        return []
    return [each for each in found if each.word.startswith(beginning) or not each.word]


class _Place:
    """Where a command line has come to, word by word. Methods raise UsageError."""

    def __init__(self) -> None:
        self._command: Command = COMMANDS
        self._program = PROGRAM
        self._parser: Parser = make_parser(PROGRAM, COMMANDS, set())
        self._typed: Typed = {}
        self._option: argparse.Action | None = None  # whose values may come
        self._is_due = False  # one of them has to come
        self._no_more_options = False

    def follow(self, word: str) -> None:
        """Take in a whole word."""
        if self._option and (self._is_due or not self._is_option(word)):
            self._take_value(self._option, word)
        elif word == "--" and not self._no_more_options:
            self._no_more_options = True
        elif self._is_option(word):
            self._follow_option(word)
        elif self._command.words:
            self._program += f" {complete(word, self._command.words)}"
            self._command = self._command.words[complete(word, self._command.words)]
            self._parser = make_parser(self._program, self._command, set())
        elif argument := self._next_argument():
            self._typed.setdefault(argument.dest, []).append(word)

    def offers(self, beginning: str) -> Iterator[Offer]:
        """Offer what may come here; it need not begin so."""
        name, equals, value = beginning.partition("=")
        if self._option and (self._is_due or not self._is_option(beginning)):
            yield from self._values(self._option, beginning)
        elif self._is_option(beginning) and equals:
            if option := self._find(name):
                for offer in self._values(option, value):
                    yield offer._replace(word=f"{name}={offer.word}" if offer.word else "")
        elif beginning.startswith("-") and not self._no_more_options:
            yield from self._options()
        elif self._command.words:
            for word, command in self._command.words.items():
                yield Offer(word, command.summary)
        else:
            argument = self._next_argument()
            found = [*self._values(argument, beginning)] if argument else []
            yield from found or ([] if beginning else self._options())

    def _is_option(self, word: str) -> bool:
        return word.startswith("-") and word != "-" and not self._no_more_options

    def _follow_option(self, word: str) -> None:
        self._option = None
        name, equals, value = word.partition("=")
        option = self._find(name)
        if not option and not word.startswith("--"):  # -ieth1
            option, equals, value = self._find(word[:2]), "=", word[2:]
        if option:
            self._typed.setdefault(option.dest, [])
            if equals:
                self._typed[option.dest].append(value)
            elif option.nargs != 0:
                self._option, self._is_due = option, True

    def _take_value(self, option: argparse.Action, word: str) -> None:
        self._typed[option.dest].append(word)
        self._is_due = False
        if option.nargs != "+":
            self._option = None

    def _find(self, name: str) -> argparse.Action | None:
        return next((each for each in self._actions if name in each.option_strings), None)

    def _next_argument(self) -> argparse.Action | None:
        """Return the positional argument that the next word would be, None where none is left."""
        for action in self._actions:
            is_full = action.dest in self._typed and action.nargs is None
            if not action.option_strings and not is_full:
                return action
        return None

    def _options(self) -> Iterator[Offer]:
        """Offer options: none that was given and may not repeat, and none that excludes it."""
        excluded = [
            each
            for group in self._parser._mutually_exclusive_groups  # noqa: SLF001
            if any(other.dest in self._typed for other in group._group_actions)  # noqa: SLF001
            for each in group._group_actions  # noqa: SLF001
        ]
        for action in self._actions:
            if action.nargs != "+" and (action.dest in self._typed or action in excluded):
                continue
            if action.option_strings:
                yield Offer(action.option_strings[-1], action.help or "")

    def _values(self, action: argparse.Action, beginning: str) -> Iterator[Offer]:
        yield from values(action, WordToComplete(beginning, self._typed, self._command))

    @property
    def _actions(self) -> Sequence[argparse.Action]:
        return self._parser._actions  # noqa: SLF001
