"""VESEMIR_… variables that are no settings: a typo must not become a default."""

import re
from collections.abc import Iterable, Iterator, Mapping
from types import UnionType
from typing import get_args

from vesemir.cli.misspelt import nearest
from vesemir.settings import Settings, SettingsSection

PREFIX = "VESEMIR_"
_OTHERS = re.compile(
    r"VESEMIR_(CONFIG|SERVER|TOKEN"
    r"|FAILPOINT(_ONCE|_DEED)?|LAB_\w+|PLACE_\w+|LOOK_\w+|WRITE_EXPECTED"
    # What steps are given, in case a step calls ``vesemir``.
    r"|DEPLOYMENT_ID|APPLICATION|ENVIRONMENT|VERSION|TEAM|RECIPE|STATUS|RETRY_OF|TARGET_\w+|ARTIFACT_\w+)"
)
"""Names that mean something else, to this program or to a step's script."""


def known_variables() -> list[str]:
    """Of all settings, as deep as they have names of their own."""
    return [f"{PREFIX}{name}" for name in _names(Settings)]


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """A line for each that begins like a setting and is none. Values are never repeated."""
    known = known_variables()
    return [
        f"{name} is not a setting{_meant(name, known)}"
        for name in sorted(environment)
        if name.upper().startswith(PREFIX) and not _means_something(name.upper())
    ]


def meant_key(variable: str) -> str:
    """For a key of the settings file, named as its variable."""
    near = nearest(variable, known_variables())
    key = near.removeprefix(PREFIX).lower().replace("__", ".") if near else None
    return f"; did you mean {key}?" if key else "; check its spelling"


def _meant(name: str, known: Iterable[str]) -> str:
    near = nearest(name.upper(), known)
    return f"; did you mean {near}?" if near else "; unset it"


def _means_something(name: str) -> bool:
    """What is wrong within a section (VESEMIR_AMQP__ULR), the settings themselves refuse."""
    section = name.removeprefix(PREFIX).partition("__")[0].lower()
    return section in Settings.model_fields or _OTHERS.fullmatch(name) is not None


def _names(model: type[Settings | SettingsSection]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = list(_models(field.annotation))
        if not inner:
            yield name.upper()
        for each in inner:
            yield from (f"{name.upper()}__{more}" for more in _names(each))


def _models(annotation: object) -> Iterator[type[SettingsSection]]:
    """The table that a setting is, if it is one: alone or beside None."""
    choices = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    yield from (each for each in choices if isinstance(each, type) and issubclass(each, SettingsSection))
