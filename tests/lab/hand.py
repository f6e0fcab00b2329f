"""Works the applet by AT-SPI, as somebody does who cannot see it.

It runs by the system's Python. Each line of its input is a JSON array, what to do and with what;
each of its output is the answer.
"""

import ctypes
import json
import struct
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

import gi

gi.require_version("Atspi", "2.0")
from gi.repository import Atspi, GLib

_DEEP = 60
_WHOLE = {
    "page tab",
    "label",
    "push button",
    "check box",
    "text",
    "scroll bar",
    "image",
    "combo box",
}
_IGNORE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(lambda *_: 0)
_STATES = {
    "sensitive": Atspi.StateType.SENSITIVE,
    "checked": Atspi.StateType.CHECKED,
    "focused": Atspi.StateType.FOCUSED,
    "focusable": Atspi.StateType.FOCUSABLE,
}


def everything(top: Any, depth: int = 0) -> Iterator[Any]:
    """Yield an accessible and all that is in it and can be seen."""
    yield top
    if depth < _DEEP and (not depth or top.get_role_name() not in _WHOLE):
        for number in range(top.get_child_count()):
            child = top.get_child_at_index(number)
            if child is not None and child.get_state_set().contains(Atspi.StateType.VISIBLE):
                yield from everything(child, depth + 1)


def applications() -> Iterator[Any]:
    desktop = Atspi.get_desktop(0)
    for number in range(desktop.get_child_count()):
        child = desktop.get_child_at_index(number)
        if child is not None:
            yield child


def seen() -> Iterator[Any]:
    for application in applications():
        try:
            yield from everything(application)
        except GLib.Error:  # it went while it was looked at
            continue


def named(part: str, role: str = "") -> Any:
    """Return what has this name, or else the first that has this in its name; None without one.

    role: a part of that of what is looked for.
    """
    first = None
    for each in seen():
        try:
            if role not in each.get_role_name() or part not in (text := label(each)):
                continue
            if part == text:
                return each
            first = first or each
        except GLib.Error:
            continue
    return first


def label(accessible: Any) -> str:
    """Return its name, what stands in it, or of a field both."""
    name = str(accessible.get_name() or "")
    if name and accessible.get_role_name() != "text":
        return name
    text = accessible.get_text_iface()
    if text is None:
        return name
    content = Atspi.Text.get_text(text, 0, Atspi.Text.get_character_count(text))
    return ": ".join(filter(None, (name, content)))


def look(part: str, role: str = "") -> dict[str, Any] | None:
    """Return what is known of an accessible."""
    found = named(part, role)
    if found is None:
        return None
    states = found.get_state_set()
    return {
        "name": label(found),
        "role": found.get_role_name(),
        **{name: states.contains(state) for name, state in _STATES.items()},
    }


def press(part: str, role: str = "") -> bool:
    """Do the first of what can be done with it or with what is in it, if it can be done now."""
    found = named(part, role)
    if found is None or not found.get_state_set().contains(Atspi.StateType.SENSITIVE):
        return False
    for each in everything(found):
        action = each.get_action_iface()
        if action is not None and Atspi.Action.get_n_actions(action):
            return bool(Atspi.Action.do_action(action, 0))
    return False


def key(symbol: int) -> bool:
    """Press a key of the keyboard, by its number in keysymdef.h.

    Nobody manages windows here: the last one gets the keyboard.
    """
    x11, xtest = ctypes.CDLL("libX11.so.6"), ctypes.CDLL("libXtst.so.6")
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XDefaultRootWindow.restype = ctypes.c_ulong
    x11.XSetErrorHandler(_IGNORE)  # of windows that cannot be seen
    display = ctypes.c_void_p(x11.XOpenDisplay(None))
    windows, count = ctypes.POINTER(ctypes.c_ulong)(), ctypes.c_uint()
    others = (ctypes.byref(ctypes.c_ulong()), ctypes.byref(ctypes.c_ulong()))
    root = ctypes.c_ulong(x11.XDefaultRootWindow(display))
    x11.XQueryTree(display, root, *others, ctypes.byref(windows), ctypes.byref(count))
    for number in range(count.value):
        window = ctypes.c_ulong(windows[number])
        attributes = ctypes.create_string_buffer(256)
        x11.XGetWindowAttributes(display, window, attributes)
        width, _height = struct.unpack_from("ii", attributes.raw, 8)
        if width > 100:
            x11.XSetInputFocus(display, window, 2, ctypes.c_ulong(0))
    x11.XSync(display, 0)
    time.sleep(0.05)
    code = x11.XKeysymToKeycode(display, ctypes.c_ulong(symbol))
    for is_down in (1, 0):
        xtest.XTestFakeKeyEvent(display, code, is_down, ctypes.c_ulong(0))
    x11.XSync(display, 0)
    x11.XCloseDisplay(display)
    return True


def focused() -> str:
    """Return the name of what has the keyboard's focus."""
    for each in seen():
        if each.get_state_set().contains(Atspi.StateType.FOCUSED):
            return label(each)
    return ""


def write(part: str, text: str) -> bool:
    """Put a text into a field."""
    found = named(part, "text") or named(part, "entry")
    if found is None:
        return False
    editable = found.get_editable_text_iface()
    return bool(editable is not None and Atspi.EditableText.set_text_contents(editable, text))


def tree() -> list[str]:
    """Return a line for each accessible, for whoever looks why something was not found."""
    lines = []
    for each in seen():
        states = [name for name, state in _STATES.items() if each.get_state_set().contains(state)]
        actions = each.get_action_iface()
        number = Atspi.Action.get_n_actions(actions) if actions else 0
        lines.append(f"{each.get_role_name()} {label(each)!r} {' '.join(states)} {number}")
    return lines


def names(role: str) -> list[str]:
    return [label(each) for each in seen() if each.get_role_name() == role]


DOINGS = {each.__name__: each for each in (look, press, write, tree, names, key, focused)}

if __name__ == "__main__":
    warnings.simplefilter("ignore")  # the other names came with a later AT-SPI
    Atspi.init()
    for line in sys.stdin:
        doing, *arguments = json.loads(line)
        Atspi.get_desktop(0).clear_cache()
        try:
            answer = DOINGS[doing](*arguments)
        except GLib.Error as error:  # what was found is there no longer
            answer = None
            print(error, file=sys.stderr)
        print(json.dumps(answer), flush=True)
