"""The policy file: told with line and reason when it is broken, read again when it changes.

A broken file at the start is an error: an instance that does not know the rules must not begin. A broken new version
leaves the old rules in force, and that is said until it is mended.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from vesemir.adapters.policy.models import PolicyTable
from vesemir.adapters.policy.policy_builder import PolicyBuilder
from vesemir.adapters.reloaded_files import Reading, ReloadedFiles
from vesemir.adapters.toml_lines import key_lines, line_of, parse_toml, path_text, reason_of, syntax_line
from vesemir.domain.audit import digest_of
from vesemir.domain.failure import VesemirError
from vesemir.domain.policy import ALLOW_ALL, Policy
from vesemir.engine.ports.observe import Log


class PolicyFileError(VesemirError):
    """A policy file that cannot be used; one line for everything that is wrong with it."""

    def __init__(self, file: Path, problems: Sequence[tuple[int | None, str]]) -> None:
        lines = [f"{file}: {reason}" if line is None else f"{file}:{line}: {reason}" for line, reason in problems]
        super().__init__("\n".join(lines))


def read_policy(file: Path) -> Policy:
    """Raises ``PolicyFileError``."""
    try:
        text = file.read_text(encoding="utf-8")
        table = parse_toml(text)
    except OSError as error:
        reason = f"cannot be read: {error.strerror}; check policy.file, its owner and mode"
        raise PolicyFileError(file, [(None, reason)]) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise PolicyFileError(file, [(line, "is not UTF-8 text")]) from error
    except tomllib.TOMLDecodeError as error:
        raise PolicyFileError(file, [(syntax_line(str(error)), f"is no TOML: {error}")]) from error
    lines = key_lines(text)
    try:
        builder = PolicyBuilder(PolicyTable.model_validate(table))
    except ValidationError as error:
        found = [(detail["loc"], reason_of(detail)) for detail in error.errors(include_url=False)]
    else:
        policy = builder.build()
        if not builder.problems:
            return replace(policy, digest=digest_of(text))
        found = builder.problems
    raise PolicyFileError(file, [(line_of(lines, path), f"{path_text(path)}: {reason}") for path, reason in found])


class PolicyFile:
    """The rules in force: the port ``vesemir.engine.ports.policies.Policies``. Without a file everything is allowed."""

    def __init__(self, file: Path | None, *, log: Log) -> None:
        """Raises ``PolicyFileError``; later problems go to ``log`` instead."""
        self._log = log
        first = ALLOW_ALL if file is None else read_policy(file)
        self._reloading = ReloadedFiles.of(file, first, self._again)

    @property
    def current(self) -> Policy:
        return self._reloading.current

    @property
    def problem(self) -> str:
        """What is wrong with the file now; "" when nothing is."""
        return self._reloading.problem

    def refresh(self) -> None:
        """Look whether the file has changed. Reads it then, so not on the event loop."""
        self._reloading.refresh()

    def _again(self, file: Path, before: Policy) -> Reading[Policy]:
        try:
            policy = read_policy(file)
        except PolicyFileError as error:
            reading = Reading(before, str(error), complete=not isinstance(error.__cause__, OSError))
            if reading.problem != self.problem:
                self._log.error(
                    "the policy stays as it was before, because its new version is broken: {problem}",
                    problem=reading.problem,
                )
            return reading
        self._log.info("the policy was read again from {file}", file=str(file))
        return Reading(policy)
