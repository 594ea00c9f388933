"""The lab's own files inside the installed package: templates, and the programs of its boxes."""

import re
from importlib.resources import files

_HOLE = re.compile(r"@([A-Z_]+)@")


def template(name: str, **values: str) -> str:
    """A file of ``templates/`` with each ``@NAME@`` replaced; every hole needs a value and every value a hole."""
    text = files("vesemir.lab").joinpath("templates", name).read_text(encoding="utf-8")
    holes = set(_HOLE.findall(text))
    assert holes == set(values), (name, holes ^ set(values))  # noqa: S101 -- a slip between a template and its user
    return _HOLE.sub(lambda found: values[found.group(1)], text)


def program(name: str) -> str:
    """The source of a program that runs on a box."""
    return files("vesemir.lab").joinpath("box", name).read_text(encoding="utf-8")
