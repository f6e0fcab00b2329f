"""Checks the configuration of a managed host's service before it is put in place."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.command_line import (
    ARGUMENTS,
    DONE,
    USAGE,
    CommandLine,
    as_text,
    sentence,
)

DOCUMENTATION = r"""
---
module: multicast_check
short_description: Check settings and documents of mfc-dbus before they are put in place
description:
  - Has C(mfc-dbus-cli check) find all that is wrong with settings, with files of C(routes.d), which
    must fit each other and the settings, and with a document. Nothing on the host is changed.
version_added: 0.1.0
options:
  settings:
    description: The text of C(mfc-dbus.toml).
    type: str
    default: ""
  routes_d:
    description: The texts of C(routes.d/*.toml), by the names of the files without C(.toml).
    type: dict
    default: {}
  document:
    description: A document as M(example.multicast_forwarding.multicast_routes) takes it.
    type: raw
requirements:
  - mfc-dbus on the managed host
extends_documentation_fragment: example.multicast_forwarding.command_line
author:
  - mfc-dbus maintainers (@mfc-dbus)
"""

EXAMPLES = r"""
- name: Check a file before it is copied
  example.multicast_forwarding.multicast_check:
    routes_d:
      lobby: "{{ lookup('ansible.builtin.file', 'lobby.toml') }}"
"""

RETURN = r"""
problems:
  description: What is wrong, each with C(message), and C(file) and C(line) where it has these.
  returned: always
  type: list
  elements: dict
"""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "settings": {"type": "str", "default": ""},
            "routes_d": {"type": "dict", "default": {}},
            "document": {"type": "raw"},
            **ARGUMENTS,
        },
        supports_check_mode=True,
    )
    given = module.params
    command_line = CommandLine(module)
    top = Path(module.tmpdir, "mfc-dbus")
    for name, text in given["routes_d"].items():
        if name.startswith(".") or "/" in name:
            module.fail_json(msg=f"'{name}' is no name of a file in routes.d")
        if not isinstance(text, str):
            module.fail_json(msg=f"'{name}' of routes_d is no text")
    files = {f"routes.d/{name}.toml": text for name, text in given["routes_d"].items()}
    for name, text in {"mfc-dbus.toml": given["settings"], **files}.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    problems = command_line.ask("check", str(top), accepted=(DONE, USAGE))
    for problem in problems:
        problem["file"] = problem["file"].replace(f"{top}/", "")
    if given["document"] is not None:
        text = as_text(given["document"])
        found = command_line.ask("check", "-", data=text, accepted=(DONE, USAGE))
        problems += [{**problem, "file": "document"} for problem in found]
    if problems:
        module.fail_json(msg="; ".join(map(sentence, problems)), problems=problems)
    module.exit_json(changed=False, problems=[])


if __name__ == "__main__":
    main()
