"""From the tables of a file to the domain's recipe, with everything checked that can be checked without a target."""

import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import assert_never

from vesemir.adapters.recipes.models import CheckTable, FetchTable, ParameterTable, PutTable, RecipeTable, StepTable
from vesemir.domain.failure import FailureCode
from vesemir.domain.recipe import (
    REQUEST_FIELDS,
    RESERVED_STEPS,
    TARGET_FIELDS,
    Check,
    Fetch,
    HttpCheck,
    Parameter,
    ParameterType,
    ParameterValue,
    Put,
    Recipe,
    Script,
    Step,
    TcpCheck,
    Variable,
    Words,
    refuse_value,
)
from vesemir.domain.template import Template

Path = tuple[str | int, ...]

_EXIT_STATUS = re.compile(r"[1-9][0-9]{0,2}")


class RecipeBuilder:
    """Builds one recipe; ``problems`` has the path and the reason of everything wrong with it."""

    def __init__(self, name: str, table: RecipeTable) -> None:
        self.problems: list[tuple[Path, str]] = []
        self._name = name
        self._table = table
        self._secrets = frozenset(name for name, parameter in table.parameters.items() if parameter.secret)
        self._names = frozenset((*REQUEST_FIELDS, *TARGET_FIELDS, *table.parameters, *table.variables))

    def build(self) -> Recipe:
        self._check_collisions()
        self._check_step_names()
        self._check_plan()
        self._check_prepare()
        return Recipe(
            name=self._name,
            description=self._table.description,
            parameters=dict(self._parameters()),
            variables=dict(self._variables()),
            prepare=self._steps("prepare", self._table.prepare),
            steps=self._steps("steps", self._table.steps),
            rollback=self._steps("rollback", self._table.rollback),
            plan=self._steps("plan", self._table.plan),
        )

    def _problem(self, path: Path, reason: str) -> None:
        self.problems.append((path, reason))

    def _check_collisions(self) -> None:
        for kind in ("parameters", "variables"):
            for name in getattr(self._table, kind):
                if name in REQUEST_FIELDS or name in TARGET_FIELDS:
                    self._problem((kind, name), f"{name} is a field that every request has; choose another name")
        for name in self._table.variables:
            if name in self._table.parameters:
                self._problem(("variables", name), f"{name} is a parameter too; choose another name")

    def _check_step_names(self) -> None:
        table = self._table
        forward = ("prepare", table.prepare), ("steps", table.steps)
        for way in (forward, (("rollback", table.rollback),), (("plan", table.plan),)):
            times = Counter(step.name for _, steps in way for step in steps)
            for kind, steps in way:
                self._check_names_of(kind, steps, times)

    def _check_names_of(self, kind: str, steps: Sequence[StepTable], times: Mapping[str, int]) -> None:
        """``times``: how often each name is used on the same way."""
        for index, step in enumerate(steps):
            if step.name in RESERVED_STEPS:
                self._problem((kind, index, "name"), f"{step.name} is the name of a step of Vesemir's own")
            if times[step.name] > 1:
                self._problem((kind, index, "name"), f"more than one step is named {step.name}")

    def _check_prepare(self) -> None:
        for index, step in enumerate(self._table.prepare):
            if step.idempotent is not True:
                reason = "a prepare step is done again when it was interrupted, so it is idempotent or belongs to steps"
                self._problem(("prepare", index, "idempotent"), reason)

    def _check_plan(self) -> None:
        """A dry run changes nothing, and what it looks at is not tried again."""
        for index, step in enumerate(self._table.plan):
            if step.command is None and step.script is None:
                self._problem(("plan", index), "what a dry run does is a command or a script, and changes nothing")

    def _parameters(self) -> Iterator[tuple[str, Parameter]]:
        for name, table in self._table.parameters.items():
            path: Path = ("parameters", name)
            self._check_pattern((*path, "pattern"), table.pattern)
            parameter = Parameter(
                name=name,
                type=table.type,
                default=self._default(path, table),
                pattern=table.pattern,
                secret=table.secret,
                max_length=table.max_length,
                minimum=table.minimum,
                maximum=table.maximum,
                choices=tuple(table.choices),
                description=table.description,
            )
            self._check_parameter(path, parameter)
            yield name, parameter

    def _default(self, path: Path, table: ParameterTable) -> ParameterValue | Template | None:
        default: ParameterValue | None = table.default
        if table.type is not ParameterType.STRING or not isinstance(default, str):
            return default
        template = self._template((*path, "default"), default, frozenset(REQUEST_FIELDS))
        return template if template.names else template.render({})

    def _check_parameter(self, path: Path, parameter: Parameter) -> None:
        if parameter.type is not ParameterType.STRING and parameter.pattern is not None:
            self._problem((*path, "pattern"), "only a string has a pattern")
        bounds = (parameter.minimum, parameter.maximum)
        if parameter.type is not ParameterType.INTEGER and bounds != (None, None):
            self._problem(path, "only an integer has a minimum or a maximum")
        if any((*path, "pattern") == known for known, _ in self.problems):
            return
        default = parameter.default
        if default is not None and not isinstance(default, Template) and (reason := refuse_value(parameter, default)):
            self._problem((*path, "default"), f"the default {reason}")

    def _variables(self) -> Iterator[tuple[str, Variable]]:
        for name, table in self._table.variables.items():
            path: Path = ("variables", name)
            self._check_pattern((*path, "pattern"), table.pattern)
            known = frozenset((*REQUEST_FIELDS, *TARGET_FIELDS))
            default = None if table.default is None else self._template((*path, "default"), table.default, known)
            yield name, Variable(name, default, table.pattern, table.description, table.trusted)

    def _check_pattern(self, path: Path, pattern: str | None) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what a later Python may read in another way
                re.compile(pattern or "")
        except (re.error, OverflowError, RecursionError) as error:
            self._problem(path, f"is no regular expression: {error}")

    def _steps(self, kind: str, steps: Sequence[StepTable]) -> tuple[Step, ...]:
        return tuple(self._step((kind, index), step) for index, step in enumerate(steps))

    def _step(self, path: Path, step: StepTable) -> Step:
        return Step(
            name=step.name,
            work=self._work(path, step),
            sudo=self._flag((*path, "sudo"), step.sudo),
            timeout=step.timeout,
            retries=step.retries,
            idempotent=self._flag((*path, "idempotent"), step.idempotent),
            environment=self._templates((*path, "environment"), step.environment),
            cwd=self._cwd((*path, "cwd"), step.cwd),
            failures=self._failures((*path, "failures"), step.failures),
            on_failure_show=self._show((*path, "on_failure_show"), step.on_failure_show),
        )

    def _show(self, path: Path, words: Sequence[str] | None) -> Words | None:
        return None if words is None else self._words(path, words)

    def _cwd(self, path: Path, text: str | None) -> Template | None:
        template = self._optional(path, text)
        self._hidden(path, template)
        return template

    def _work(self, path: Path, step: StepTable) -> Words | Script | Put | Fetch | Check:
        work = step.work
        match work:
            case list():
                return self._words((*path, "command"), work)
            case str():
                return Script(work)
            case PutTable():
                put = self._fields((*path, "put"), work.model_dump(exclude={"mode"}))
                self._check_names((*path, "put"), put, ("source", "destination", "owner", "group"))
                return Put(mode=int(work.mode, 8), **put)
            case FetchTable():
                fetch = self._fields((*path, "fetch"), work.model_dump(exclude={"mode"}))
                self._check_names((*path, "fetch"), fetch, ("destination", "owner", "group"))
                return Fetch(mode=int(work.mode, 8), **fetch)
            case CheckTable():
                return self._check((*path, "check"), work)
            case _:
                assert_never(work)

    def _fields(self, path: Path, texts: Mapping[str, str | None]) -> dict[str, Template]:
        return {
            name: self._template((*path, name), text, self._names) for name, text in texts.items() if text is not None
        }

    def _check(self, path: Path, table: CheckTable) -> Check:
        probe: HttpCheck | TcpCheck | Words
        if table.http is not None:
            probe = HttpCheck(
                url=self._template((*path, "http"), table.http, self._names),
                status=table.status,
                contains=self._optional((*path, "contains"), table.contains),
                json=self._templates((*path, "json"), table.json_keys),
            )
        elif table.tcp is not None:
            probe = TcpCheck(self._template((*path, "tcp"), table.tcp, self._names))
            self._hidden((*path, "tcp"), probe.address)
        elif table.command is not None:
            probe = self._words((*path, "command"), table.command)
        else:
            raise AssertionError("a check of a kind that nothing here builds")
        return Check(
            probe,
            interval=table.interval,
            deadline=self._seconds((*path, "deadline"), table.deadline),
            health=table.health,
            stable_seconds=self._seconds((*path, "stable_seconds"), table.stable_seconds),
        )

    def _check_names(self, path: Path, templates: Mapping[str, Template], names: Sequence[str]) -> None:
        for name in names:
            self._hidden((*path, name), templates.get(name))

    def _hidden(self, path: Path, template: Template | None) -> None:
        """A name of a file, a user or a place shows in lists that anybody on the host can read."""
        for name in sorted(template.names & self._secrets if template else ()):
            self._problem(path, f"secret {name} would show on the host; pass it by environment or in content")

    def _words(self, path: Path, words: Sequence[str]) -> Words:
        templates = tuple(self._template((*path, index), word, self._names) for index, word in enumerate(words))
        for index, template in enumerate(templates):
            for name in sorted(template.names & self._secrets):
                self._problem(
                    (*path, index), f"secret {name} would show in the host's process list; pass it by environment"
                )
        return Words(templates)

    def _templates(self, path: Path, texts: Mapping[str, str]) -> dict[str, Template]:
        return {name: self._template((*path, name), text, self._names) for name, text in texts.items()}

    def _optional(self, path: Path, text: str | None) -> Template | None:
        return None if text is None else self._template(path, text, self._names)

    def _template(self, path: Path, text: str, known: frozenset[str]) -> Template:
        if "\0" in text:
            self._problem(path, "must not hold a NUL character")
        try:
            template = Template.parse(text)
        except ValueError as error:
            self._problem(path, str(error))
            return Template(())
        for name in sorted(template.names - known):
            self._problem(path, f"unknown placeholder {{{name}}}; known here: {', '.join(sorted(known))}")
        return template if template.names <= known else Template(())

    def _flag(self, path: Path, value: bool | str) -> bool | Template:  # noqa: FBT001 - the file's own value
        if isinstance(value, bool):
            return value
        template = self._template(path, value, self._names)
        if not template.names and not any(path == known for known, _ in self.problems):
            self._problem(path, 'must be true, false or a placeholder such as "{sudo}"')
        return template

    def _seconds(self, path: Path, value: float | str) -> float | Template:
        if not isinstance(value, str):
            return float(value)
        template = self._template(path, value, self._names)
        if not template.names and not any(path == known for known, _ in self.problems):
            self._problem(path, 'must be a number of seconds or a placeholder such as "{start_seconds}"')
        self._hidden(path, template)
        return template

    def _failures(self, path: Path, table: Mapping[str, str]) -> dict[int, FailureCode]:
        failures: dict[int, FailureCode] = {}
        for status, code in table.items():
            if _EXIT_STATUS.fullmatch(status) is None or int(status) > 255:  # noqa: PLR2004 - the largest exit status
                self._problem((*path, status), "must be an exit status from 1 to 255")
            elif code not in set(FailureCode):
                self._problem((*path, status), f"unknown failure code {code}; docs/runbook.md lists them")
            else:
                failures[int(status)] = FailureCode(code)
        return failures
