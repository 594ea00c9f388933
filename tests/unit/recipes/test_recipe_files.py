"""Recipe files: what they may hold, and that everything wrong with them is told with file, line and reason."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesemir.adapters.recipes import RecipeFileError, load_recipes
from vesemir.adapters.recipes.models import CheckTable, RecipeTable, StepTable
from vesemir.adapters.recipes.recipe_builder import RecipeBuilder
from vesemir.adapters.toml_lines import key_lines, line_of
from vesemir.domain.failure import FailureCode
from vesemir.domain.recipe import ParameterType, Recipe, Script
from vesemir.domain.template import Template
from vesemir.shipped import recipes_folder

STEP = '[[steps]]\nname = "one"\ncommand = ["true"]\n'


def load(folder: Path, text: str, name: str = "mine") -> Recipe:
    (folder / f"{name}.toml").write_text(text)
    recipe = load_recipes([folder]).get(name)
    assert recipe is not None
    return recipe


def test_the_shipped_recipes_are_sound_and_can_go_back() -> None:
    book = load_recipes([recipes_folder()])
    assert book.names == ("chef-client", "package", "release", "vesemir")
    assert book.get("none") is None
    for name in book.names:
        recipe = book.get(name)
        assert recipe is not None
        assert recipe.description
        assert recipe.rollback
        assert all(step.idempotent is True for steps in recipe.lists.values() for step in steps)


def test_a_whole_recipe(tmp_path: Path) -> None:
    recipe = load(
        tmp_path,
        """
description = "d"
[parameters.count]
type = "integer"
default = 3
minimum = 1
[parameters.tag]
default = "{application}-{version}"
[parameters.token]
required = true
secret = true
[variables.root]
required = true
[variables.sudo]
default = "false"
[[steps]]
name = "run"
command = ["{root}/bin", "{count}", "{{x}}"]
sudo = "{sudo}"
timeout = 7
retries = 2
idempotent = false
cwd = "{root}"
environment = { TOKEN = "{token}" }
failures = { "3" = "artifact.unavailable" }
[[steps]]
name = "script"
script = "echo {not a placeholder}"
[[rollback]]
name = "run"
command = ["true"]
""",
    )
    assert recipe.parameters["count"].type is ParameterType.INTEGER
    assert recipe.parameters["tag"].default == Template.parse("{application}-{version}")
    assert recipe.parameters["token"].required
    assert recipe.parameters["token"].secret
    assert recipe.variables["root"].required
    run, script = recipe.steps
    assert (run.timeout, run.retries, run.idempotent) == (7, 2, False)
    assert run.failures == {3: FailureCode.ARTIFACT_UNAVAILABLE}
    assert run.sudo == Template.parse("{sudo}")
    assert script.work == Script("echo {not a placeholder}")
    assert [step.name for step in recipe.rollback] == ["run"]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("[[steps]\n", 1, "is no TOML"),
        ("description = 'x'\n", None, "steps: is missing"),
        (STEP + "tmeout = 3\n", 4, "steps[0].tmeout: unknown key"),
        ("[[steps]]\nname = 'one'\n", 1, "exactly one of command, script, put, fetch and check"),
        (STEP + "script = 'x'\n", 1, "exactly one of"),
        (STEP + "timeout = 0\n", 4, "greater than 0"),
        (STEP + "timeout = '5'\n", 4, "valid number"),
        (STEP + "sudo = 'yes'\n", 4, "must be true, false or a placeholder"),
        (STEP + "sudo = 1\n", 4, "must be true, false or a placeholder"),
        (STEP + "retries = true\n", 4, "valid integer"),
        (STEP + "cwd = '{nowhere}'\n", 4, "unknown placeholder {nowhere}"),
        (STEP + "cwd = '{'\n", 4, "a single { at character 1"),
        (STEP + 'cwd = "a\\u0000"\n', 4, "NUL"),
        (STEP + "failures = { 0 = 'step.failed' }\n", 4, "exit status from 1 to 255"),
        (STEP + "failures = { 256 = 'step.failed' }\n", 4, "exit status from 1 to 255"),
        (STEP + "[steps.failures]\n3 = 'artifact.gone'\n", 5, "unknown failure code artifact.gone"),
        (STEP + "environment = { 'A B' = 'x' }\n", 4, "match pattern"),
        (STEP + STEP, 2, "more than one step is named one"),
        ("[[steps]]\nname = 'drain'\ncommand = ['true']\n", 2, "a step of Vesemir's own"),
        ("[[steps]]\nname = 'One'\ncommand = ['true']\n", 2, "match pattern"),
        ("[[steps]]\nname = 'one'\ncommand = []\n", 3, "at least 1 item"),
        (
            "[[steps]]\nname = 'one'\ncommand = [\n  'a',\n  '{b}',\n]\n",
            5,
            "steps[0].command[1]: unknown placeholder {b}",
        ),
        (STEP + "on_failure_show = []\n", 4, "at least 1 item"),
        (STEP + "on_failure_show = ['{nowhere}']\n", 4, "unknown placeholder {nowhere}"),
        (
            STEP + "on_failure_show = ['{t}']\n[parameters.t]\nrequired = true\nsecret = true\n",
            4,
            "on_failure_show[0]: secret t would show in the host's process list",
        ),
        ("[[steps]]\nname='one'\ncheck = {tcp='a:1', deadline=0}\n", 3, "from 0 to 86400 seconds, and not 0"),
        ("[[steps]]\nname='one'\ncheck = {tcp='a:1', deadline=true}\n", 3, "a number of seconds or a placeholder"),
        ("[[steps]]\nname='one'\ncheck = {tcp='a:1', stable_seconds=3601}\n", 3, "must be from 0 to 3600 seconds"),
        ("[[steps]]\nname='one'\ncheck = {tcp='a:1', stable_seconds='5'}\n", 3, "a number of seconds or a placeholder"),
        ("[[steps]]\nname='one'\ncheck = {tcp='a:1', deadline='{soon}'}\n", 3, "unknown placeholder {soon}"),
        ("[[steps]]\nname='one'\nput = {destination='/x'}\n", 3, "exactly one of source and content"),
        ("[[steps]]\nname='one'\nput = {destination='/x', content='', mode='9'}\n", 3, "steps[0].put.mode"),
        ("[[steps]]\nname='one'\nfetch = {url='http://x', destination='/x'}\n", 3, "steps[0].fetch.sha256: is missing"),
        ("[[steps]]\nname='one'\n[steps.check]\ntcp = 'a:1'\nstatus = 3\n", 5, "steps[0].check.status"),
        ("[[steps]]\nname='one'\n[steps.check]\ntcp = 'a:1'\nstatus = 300\n", 3, "belong to an http check"),
        ("[[steps]]\nname='one'\ncheck = {}\n", 3, "exactly one of http, tcp and command"),
        ("[parameters.x]\n" + STEP, 1, "either required = true or a default"),
        ("[parameters.x]\nrequired = true\ndefault = 'a'\n" + STEP, 1, "either required = true or a default"),
        ("[parameters.x]\ntype = 'text'\nrequired = true\n" + STEP, 2, "parameters.x.type"),
        ("[parameters.x]\nrequired = true\npattern = '('\n" + STEP, 3, "is no regular expression"),
        ("[parameters.x]\nrequired = true\npattern = 'a{99999999999}'\n" + STEP, 3, "is no regular expression"),
        (f"[variables.x]\nrequired = true\npattern = '{'(' * 3000}'\n" + STEP, 3, "is no regular expression"),
        ("[parameters.x]\npattern = 'a+'\ndefault = 'b'\n" + STEP, 3, "the default must match a+"),
        ("[parameters.x]\ntype = 'integer'\ndefault = true\n" + STEP, 3, "the default must be of type integer"),
        ("[parameters.x]\ntype = 'boolean'\ndefault = 1\n" + STEP, 3, "the default must be of type boolean"),
        ("[parameters.x]\ndefault = 1.5\n" + STEP, 2, "must be text, an integer"),
        ("[parameters.x]\ndefault = 'c'\nchoices = ['a', 'b']\n" + STEP, 2, "must be one of: a, b"),
        ("[parameters.x]\ndefault = '{target_name}'\n" + STEP, 2, "unknown placeholder {target_name}"),
        ("[parameters.x]\nrequired = true\nminimum = 3\n" + STEP, 1, "only an integer"),
        ("[parameters.version]\nrequired = true\n" + STEP, 1, "a field that every request has"),
        ("[parameters.X]\nrequired = true\n" + STEP, 1, "match pattern"),
        ("[parameters.x]\nrequired=true\n[variables.x]\nrequired=true\n" + STEP, 3, "x is a parameter too"),
        ("[variables.x]\ndefault = '{y}'\n" + STEP, 2, "unknown placeholder {y}"),
        ("[parameters.x]\nrequired=true\nsecret=true\n[[steps]]\nname='a'\ncommand=['{x}']\n", 6, "process list"),
        (
            "[parameters.x]\nrequired=true\nsecret=true\n[[steps]]\nname='a'\nscript='a'\ncwd='/{x}'\n",
            7,
            "show on the host",
        ),
        (
            "[parameters.x]\nrequired=true\nsecret=true\n[[steps]]\nname='a'\ncheck={tcp='{x}:80'}\n",
            6,
            "show on the host",
        ),
        (
            "[parameters.x]\nrequired=true\nsecret=true\n[[steps]]\nname='a'\nput={content='a', destination='/{x}'}\n",
            6,
            "show on",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, line: int | None, reason: str) -> None:
    with pytest.raises(RecipeFileError) as caught:
        load(tmp_path, text)
    problem = caught.value.problems[0]
    assert (problem.file, problem.line) == (tmp_path / "mine.toml", line)
    assert reason in problem.reason
    assert str(problem).startswith(f"{tmp_path}/mine.toml:")


PREPARE = '[[prepare]]\nname = "build"\ncommand = ["make", "{version}"]\n'


def test_prepare_is_a_list_of_its_own_beside_the_steps(tmp_path: Path) -> None:
    recipe = load(tmp_path, PREPARE + STEP)
    assert {name: [step.name for step in steps] for name, steps in recipe.lists.items()} == {
        "prepare": ["build"],
        "steps": ["one"],
        "rollback": [],
        "plan": [],
    }


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (PREPARE + PREPARE + STEP, 2, "prepare[0].name: more than one step is named build"),
        (PREPARE.replace("build", "one") + STEP, 5, "steps[0].name: more than one step is named one"),
        (PREPARE.replace("build", "drain") + STEP, 2, "prepare[0].name: drain is the name of a step of Vesemir's own"),
        (PREPARE + "idempotent = false\n" + STEP, 4, "prepare[0].idempotent: a prepare step is done again"),
        (PREPARE + 'idempotent = "{version}"\n' + STEP, 4, "prepare[0].idempotent: a prepare step is done again"),
        (PREPARE + "sudo = 1\n" + STEP, 4, "prepare[0].sudo"),
        (PREPARE, None, "steps: "),
    ],
)
def test_what_is_wrong_in_prepare_is_told(tmp_path: Path, text: str, line: int | None, reason: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(RecipeFileError) as caught:
        load_recipes([tmp_path])
    assert any(each.line == line and reason in str(each) for each in caught.value.problems), caught.value


def test_all_broken_files_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("= 1")
    (tmp_path / "b.toml").write_bytes(b"description = 'x'\n# \xff\n")
    (tmp_path / "c.toml").write_text(STEP)
    (tmp_path / "D.toml").write_text(STEP)
    (tmp_path / "e.toml").write_text("[[steps]]\nname = 'x'\ncommand = ['{a}', '{b}']\n")
    (tmp_path / "notes.txt").write_text("not a recipe")
    with pytest.raises(RecipeFileError) as caught:
        load_recipes([tmp_path, tmp_path / "none"])
    found = [(problem.file.name, problem.line) for problem in caught.value.problems]
    assert found == [("D.toml", None), ("a.toml", 1), ("b.toml", 2), ("e.toml", 3), ("e.toml", 3), ("none", None)]


def test_a_later_folder_wins(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.toml").write_text(f"description = '{name}'\n{STEP}")
    recipe = load_recipes([tmp_path / "first", tmp_path / "second"]).get("mine")
    assert recipe is not None
    assert recipe.description == "second"


def test_lines_are_found_through_every_form_of_toml() -> None:
    text = (
        'top = """\n[not.a.table]\n"""\n'
        "a.b = [ # comment ]\n  1,\n  { c = 'x' , d = [\n    2 ] },\n]\n"
        "[t.\"q.k\"]\ndeep = '''\n]'''\nlast = 1979-05-27 07:32:00 # = [\n"
        '[[s]]\nx = 1\n[[s]]\n[s.sub]\ny = "a\\"]"\n[[s.inner]]\nz = 1\n[[s.inner]]\nz = 2\n'
    )
    lines = key_lines(text)
    wanted = {
        ("top",): 1, ("a", "b"): 4, ("a", "b", 0): 5, ("a", "b", 1): 6, ("a", "b", 1, "c"): 6, ("a", "b", 1, "d", 0): 7,
        ("t", "q.k"): 9, ("t", "q.k", "deep"): 10, ("t", "q.k", "last"): 12, ("s", 0): 13, ("s", 0, "x"): 14,
        ("s", 1): 15, ("s", 1, "sub", "y"): 17, ("s", 1, "inner", 0, "z"): 19, ("s", 1, "inner", 1, "z"): 21,
    }  # fmt: skip
    assert {path: lines.get(path) for path in wanted} == wanted
    assert line_of(lines, ("s", 1, "sub", "none")) == 16
    assert line_of(lines, ("none",)) is None


def _paths(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in items:
        yield (*path, key)
        yield from _paths(member, (*path, key))


@given(st.text(alphabet="ab=\n[]{}.\"'#, 1\\", max_size=40))
def test_every_key_of_any_toml_text_has_a_line(text: str) -> None:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines = key_lines(text)
    assert all(1 <= lines[path] <= text.count("\n") + 1 for path in _paths(document))


@pytest.mark.parametrize("file", sorted(recipes_folder().glob("*.toml")), ids=lambda file: file.stem)
def test_every_key_of_the_shipped_recipes_has_a_line(file: Path) -> None:
    text = file.read_text()
    lines = key_lines(text)
    assert set(_paths(tomllib.loads(text))) <= set(lines)


def test_a_kind_of_step_that_nothing_builds_is_never_an_empty_script() -> None:
    """Were a kind added to the file and not to what builds it, this would be it."""
    table = RecipeTable.model_construct(steps=[StepTable.model_construct(name="new")])
    with pytest.raises(ValueError, match="unpack"):
        RecipeBuilder("mine", table).build()


def test_a_kind_of_check_that_nothing_builds_is_never_an_empty_command() -> None:
    check = CheckTable.model_construct()
    table = RecipeTable.model_construct(steps=[StepTable.model_construct(name="new", check=check)])
    with pytest.raises(AssertionError, match="kind"):
        RecipeBuilder("mine", table).build()
