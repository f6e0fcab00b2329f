"""Texts in the language of the user; in English, as they are written, where there is no other.

The functions of `gettext` itself look for the files anew each time: some ten thousand times a
second for a picture of 200 streams.
"""

import functools
import gettext

DOMAIN = "mfc-dbus-applet"


@functools.cache
def catalogue() -> gettext.NullTranslations:
    return gettext.translation(DOMAIN, fallback=True)


def _(text: str) -> str:
    return catalogue().gettext(text)


def ngettext(one: str, many: str, count: int) -> str:
    return catalogue().ngettext(one, many, count)
