"""From recipe and target to steps: parameters are checked, placeholders are whole words, scripts stay as they are."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.recipes.recipe_runs import run

from vesemir.domain.action import (
    CheckAction,
    FetchAction,
    HttpProbe,
    PutAction,
    RenderedStep,
    RunAction,
    TcpProbe,
)
from vesemir.domain.failure import FailureCode
from vesemir.domain.probe import refuse_answer
from vesemir.domain.problem import Problem
from vesemir.domain.recipe import (
    Check,
    Fetch,
    HttpCheck,
    Parameter,
    ParameterType,
    Put,
    Recipe,
    Script,
    Step,
    TcpCheck,
    Variable,
    Words,
    check_parameters,
    secret_texts,
)
from vesemir.domain.render import hidden_values, render_steps
from vesemir.domain.render_values import RenderError, RenderScope
from vesemir.domain.step import Direction
from vesemir.domain.target import Target
from vesemir.domain.template import Template

PARAMETERS = {
    "word": Parameter("word", pattern="[a-z]+"),
    "count": Parameter("count", ParameterType.INTEGER, default=3, minimum=1, maximum=9),
    "on": Parameter("on", ParameterType.BOOLEAN, default=False),
    "tag": Parameter("tag", default=Template.parse("{application}-{version}"), pattern="[a-z0-9.-]+"),
    "token": Parameter("token", default="", secret=True, max_length=4),
    "size": Parameter("size", default="s", choices=("s", "m")),
}


def recipe_of(*steps: Step, **variables: Variable) -> Recipe:
    return Recipe("mine", parameters={"text": Parameter("text", default="")}, variables=variables, steps=steps)


def rendered(step: Step, text: str = "", **variables: str) -> RenderedStep:
    recipe = recipe_of(step, **{name: Variable(name) for name in variables})
    target = Target("web1", "10.0.0.1", variables=variables)
    scope = RenderScope("shop", "production", "1.4.2", "d1", target, parameters={"text": text}, step_seconds=60)
    return render_steps(recipe, Direction.FORWARD, scope)[0]


def test_good_parameters_and_defaults() -> None:
    values, problems = check_parameters(Recipe("mine", parameters=PARAMETERS), {"word": "abc", "on": True})
    assert values == {"word": "abc", "count": 3, "on": True, "token": "", "size": "s"}
    assert problems == []


def test_all_problems_are_told_at_once() -> None:
    given = {"word": "abc1", "count": True, "on": "true", "token": "12345", "size": "l", "wrod": "x"}
    _, problems = check_parameters(Recipe("mine", parameters=PARAMETERS), given)
    assert problems == [
        Problem("parameters.wrod", "is not a parameter of recipe mine; it has: word, count, on, tag, token, size"),
        Problem("parameters.word", "must match [a-z]+ as a whole"),
        Problem("parameters.count", "must be of type integer"),
        Problem("parameters.on", "must be of type boolean"),
        Problem("parameters.token", "is 5 bytes long, at most 4 are allowed"),
        Problem("parameters.size", "must be one of: s, m"),
    ]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("count", 0, "at least 1"),
        ("count", 10, "at most 9"),
        ("count", 3.0, "type integer"),
        ("count", "3", "type integer"),
        ("word", "abc\n", "must match"),
        ("word", None, "type string"),
        ("word", ["abc"], "type string"),
        ("word", {"a": 1}, "type string"),
        ("token", "a\0b", "NUL"),
        ("token", "\ud800", "Unicode"),
        ("token", "ééé", "6 bytes"),
    ],
)
def test_a_bad_value_is_refused(name: str, value: object, reason: str) -> None:
    _, problems = check_parameters(Recipe("mine", parameters=PARAMETERS), {"word": "abc", name: value})
    (problem,) = problems
    assert problem.field == f"parameters.{name}"
    assert reason in problem.message


def test_a_missing_required_parameter_and_an_immense_integer_are_refused() -> None:
    recipe = Recipe("mine", parameters={"n": Parameter("n", ParameterType.INTEGER), "w": Parameter("w")})
    _, problems = check_parameters(recipe, {"n": 10**5000})
    assert [problem.message for problem in problems] == [
        "does not fit in 64 bits",
        "is missing; recipe mine requires it",
    ]


def test_the_secrets_are_known_for_redaction() -> None:
    recipe = Recipe("mine", parameters=PARAMETERS)
    assert secret_texts(recipe, {"word": "abc", "token": "hush"}) == {"hush"}
    assert secret_texts(recipe, {"word": "abc", "token": ""}) == frozenset()


TOLD = {"DB_PASSWORD": Template.parse("{text}"), "LANG": Template.parse("C.UTF-8")}
ONE, HASH = Template.parse("/srv/x"), Template.parse("0" * 64)


@pytest.mark.parametrize(
    "work",
    [
        Words((Template.parse("true"),)),
        Script("true"),
        Put(ONE, content=ONE),
        Fetch(Template.parse("https://host/x"), HASH, ONE),
        Check(Words((Template.parse("true"),))),
    ],
)
def test_what_a_variables_name_tells_to_be_a_secret_is_known_for_redaction(work: Any) -> None:
    assert hidden_values([rendered(Step("a", work, environment=TOLD), "hunter22")]) == {"hunter22"}


def test_a_check_over_the_network_has_no_environment() -> None:
    step = Step("a", Check(HttpCheck(Template.parse("http://127.0.0.1/"))), environment=TOLD)
    assert hidden_values([rendered(step, "hunter22")]) == set()


def test_a_default_is_rendered_with_the_request_and_checked() -> None:
    recipe = Recipe(
        "mine", parameters={"tag": PARAMETERS["tag"]}, steps=(Step("s", Words((Template.parse("{tag}"),))),)
    )
    target = Target("web1", "10.0.0.1")
    (step,) = render_steps(recipe, Direction.FORWARD, RenderScope("shop", "production", "1.4.2", "d1", target))
    assert isinstance(step.action, RunAction)
    assert step.action.command.argv == ("shop-1.4.2",)
    with pytest.raises(RenderError, match=r"parameter tag .* must match"):
        render_steps(recipe, Direction.FORWARD, RenderScope("shop", "production", "1:2", "d1", target))


def test_a_missing_variable_names_host_variable_and_where_to_set_it() -> None:
    recipe = recipe_of(Step("s", Script("true")), root=Variable("root"), port=Variable("port", pattern="[0-9]+"))
    target = Target("web1", "10.0.0.1", variables={"port": "80 81"})
    with pytest.raises(RenderError) as caught:
        render_steps(recipe, Direction.FORWARD, RenderScope("shop", "production", "1", "d1", target))
    assert "web1 has no variable root" in str(caught.value)
    assert "variable port of web1 must match [0-9]+" in str(caught.value)
    assert "[hosts.web1.variables]" in str(caught.value)


def test_the_inventory_wins_over_the_default_of_a_variable() -> None:
    default = Variable("root", default=Template.parse("/srv/{application}/{target_name}"))
    recipe = recipe_of(Step("s", Words((Template.parse("{root}"),))), root=default)
    argv: list[Any] = []
    for variables in ({}, {"root": "/opt"}):
        scope = RenderScope("shop", "production", "1", "d1", Target("web1", "10.0.0.1", variables=variables))
        action = render_steps(recipe, Direction.FORWARD, scope)[0].action
        assert isinstance(action, RunAction)
        argv.append(action.command.argv)
    assert argv == [("/srv/shop/web1",), ("/opt",)]


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30))
def test_a_value_is_one_word_whatever_is_in_it_and_is_never_read_as_a_placeholder(text: str) -> None:
    step = rendered(Step("s", Words((Template.parse("echo"), Template.parse("{{{text}}}")))), text)
    assert isinstance(step.action, RunAction)
    assert step.action.command.argv == ("echo", "{" + text + "}")


@pytest.mark.parametrize(
    "text", ["$(touch pwned)", "'; touch pwned; '", '"`touch pwned`"', "a\nb", "-n", "{version}", "é\\"]
)
def test_shell_characters_reach_a_script_as_the_same_bytes_and_nothing_else_happens(tmp_path: Path, text: str) -> None:
    step = rendered(Step("s", Script('printf %s "$PARAM_TEXT"'), cwd=Template.parse(str(tmp_path))), text)
    assert isinstance(step.action, RunAction)
    assert step.action.command.argv == ("sh", "-eu", "-c", 'printf %s "$PARAM_TEXT"', "sh")
    done = run(step.action.command)
    assert (done.returncode, done.stdout, done.stderr) == (0, text, "")
    assert list(tmp_path.iterdir()) == []


def test_a_script_gets_parameters_variables_and_the_request_and_its_own_environment() -> None:
    step = Step("s", Script("true"), environment={"PARAM_TEXT": Template.parse("over"), "X": Template.parse("{root}")})
    action = rendered(step, "given", root="/r").action
    assert isinstance(action, RunAction)
    assert action.command.environment == {
        "VESEMIR_APPLICATION": "shop",
        "VESEMIR_ENVIRONMENT": "production",
        "VESEMIR_TEAM": "",
        "VESEMIR_VERSION": "1.4.2",
        "VESEMIR_DEPLOYMENT_ID": "d1",
        "VESEMIR_RECIPE": "mine",
        "VESEMIR_TARGET_NAME": "web1",
        "VESEMIR_TARGET_ADDRESS": "10.0.0.1",
        "VESEMIR_ARTIFACT_MAX_ENTRIES": "250000",
        "VESEMIR_ARTIFACT_MAX_UNPACKED_BYTES": str(8 * 1024**3),
        "PARAM_TEXT": "over",
        "VAR_ROOT": "/r",
        "X": "/r",
    }


def test_a_step_is_never_longer_than_the_request_allows() -> None:
    assert rendered(Step("s", Script("true"))).timeout == 60
    assert rendered(Step("s", Script("true"), timeout=5)).timeout == 5
    assert rendered(Step("s", Script("true"), timeout=500)).timeout == 60
    check = rendered(Step("s", Check(TcpCheck(Template.parse("a:1")), deadline=90))).action
    assert isinstance(check, CheckAction)
    assert check.deadline == 60


TIMED_CHECK = Check(
    TcpCheck(Template.parse("a:1")), deadline=Template.parse("{wait}"), stable_seconds=Template.parse("{text}")
)


def test_the_times_of_a_check_come_from_placeholders() -> None:
    check = rendered(Step("s", TIMED_CHECK), "2.5", wait="40").action
    assert isinstance(check, CheckAction)
    assert (check.deadline, check.stable_seconds) == (40, 2.5)


@pytest.mark.parametrize(
    ("wait", "stable", "reason"),
    [
        ("soon", "0", "deadline must be a number of seconds up to 86400, not 'soon'"),
        ("-1", "0", "deadline must be a number of seconds"),
        ("nan", "0", "deadline must be a number of seconds"),
        ("86401", "0", "deadline must be a number of seconds up to 86400"),
        ("9", "3601", "stable_seconds must be a number of seconds up to 3600"),
        ("0", "0", "can never pass for stable_seconds = 0 within 0 s"),
        ("5", "5", "can never pass for stable_seconds = 5 within 5 s"),
        ("90", "60", "within 60 s (the least of deadline, timeout and the request's timeouts.step)"),
    ],
)
def test_times_that_a_check_cannot_have_are_refused_before_anything_is_touched(
    wait: str, stable: str, reason: str
) -> None:
    with pytest.raises(RenderError) as refused:
        rendered(Step("s", TIMED_CHECK), stable, wait=wait)
    assert reason in str(refused.value)


@pytest.mark.parametrize(("text", "flag"), [("true", True), ("False", False)])
def test_flags_come_from_placeholders(text: str, flag: bool) -> None:  # noqa: FBT001 - the parameter of a test
    step = rendered(Step("s", Script("true"), sudo=Template.parse("{text}"), idempotent=Template.parse("{text}")), text)
    assert isinstance(step.action, RunAction)
    assert (step.action.command.sudo, step.idempotent) == (flag, flag)


def test_put_and_fetch_are_final_and_know_their_failures() -> None:
    put = rendered(
        Step(
            "s", Put(Template.parse("/etc/{text}"), content=Template.parse("v={version}\n"), owner=Template.parse("x"))
        ),
        "a",
    )
    assert isinstance(put.action, PutAction)
    assert (put.action.destination, put.action.content, put.action.owner) == ("/etc/a", b"v=1.4.2\n", "x")
    assert len(put.action.sha256) == 64
    fetch = rendered(
        Step(
            "s",
            Fetch(Template.parse("https://a/{version}"), Template.parse("{text}"), Template.parse("/srv/x")),
            failures={9: FailureCode.STEP_FAILED},
        ),
        "AB" * 32,
    )
    assert isinstance(fetch.action, FetchAction)
    assert (fetch.action.url, fetch.action.sha256) == ("https://a/1.4.2", "ab" * 32)
    assert fetch.failures == {
        3: FailureCode.ARTIFACT_UNAVAILABLE,
        4: FailureCode.ARTIFACT_CHECKSUM_MISMATCH,
        9: FailureCode.STEP_FAILED,
    }


def test_checks_are_final_and_fail_as_health_unless_told_otherwise() -> None:
    http = HttpCheck(Template.parse("http://{target_address}/"), 204, json={"version": Template.parse("{version}")})
    step = rendered(Step("s", Check(http)))
    assert step.action == CheckAction(HttpProbe("http://10.0.0.1/", 204, None, {"version": "1.4.2"}), 1, 60)
    assert step.failure is FailureCode.HEALTH_FAILED
    step = rendered(Step("s", Check(TcpCheck(Template.parse("[::1]:80")), health=False)))
    assert isinstance(step.action, CheckAction)
    assert step.action.probe == TcpProbe("::1", 80)
    assert step.failure is FailureCode.STEP_FAILED


@pytest.mark.parametrize(
    ("step", "text", "reason"),
    [
        (Step("s", Script("true"), sudo=Template.parse("{text}")), "maybe", "sudo must be true or false, not 'maybe'"),
        (Step("s", Check(TcpCheck(Template.parse("{text}")))), "host", "must be host:port"),
        (Step("s", Check(TcpCheck(Template.parse("{text}")))), "host:99999", "must be host:port"),
        (Step("s", Check(HttpCheck(Template.parse("{text}")))), "https://x", "must begin with http://"),
        (Step("s", Put(Template.parse("{text}"), content=Template(()))), "etc/x", "must be an absolute path"),
        (
            Step("s", Fetch(Template.parse("ftp://x"), Template(()), Template.parse("/x"))),
            "",
            "must begin with file://",
        ),
        (Step("s", Fetch(Template.parse("http://x"), Template.parse("{text}"), Template.parse("/x"))), "ab", "64 hexa"),
    ],
)
def test_what_cannot_be_carried_out_is_told_before_anything_is(step: Step, text: str, reason: str) -> None:
    with pytest.raises(RenderError, match="recipe mine, step s, on web1: ") as caught:
        rendered(step, text)
    assert reason in str(caught.value)


PROBE = HttpProbe("http://x/", 200, "ok", {"version": "1", "a.b": "true", "n": "3"})


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (200, b'{"version": "1", "a": {"b": true}, "n": 3, "x": "ok"}', None),
        (503, b"ok", "answered 503, expected 200"),
        (200, b"{}", "without 'ok'"),
        (200, b"<html>\nok", "no JSON but '<html> ok'"),
        (
            200,
            b'{"app": {"version": "1"}, "ok": 1}',
            "JSON without version as text or number, expected '1'; it has app, ok",
        ),
        (200, b"\xff ok", "no JSON"),
        (200, b'["ok"]', "without version"),
        (200, b'{"version": "2", "x": "ok"}', "version = '2', expected '1'"),
        (200, b'{"version": "1", "a": {"b": false}, "x": "ok"}', "a.b = 'false', expected 'true'"),
        (200, b"[" * 30000 + b"ok", "no JSON"),
    ],
)
def test_an_answer_passes_or_the_reason_is_told(status: int, body: bytes, reason: str | None) -> None:
    answer = refuse_answer(PROBE, status, body)
    assert answer is None if reason is None else answer is not None and reason in answer


@pytest.mark.parametrize("text", ["{", "}", "a{b", "{A}", "{}", "{{{", "{a}}", "{a.b}"])
def test_a_lone_brace_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="a single"):
        Template.parse(text)


def test_a_required_parameter_that_was_never_given_is_told_and_not_left_empty() -> None:
    recipe = Recipe("mine", parameters={"word": Parameter("word")}, steps=(Step("s", Script("true")),))
    with pytest.raises(RenderError, match="parameter word of recipe mine is required"):
        render_steps(
            recipe, Direction.FORWARD, RenderScope("shop", "production", "1", "d1", Target("web1", "10.0.0.1"))
        )


def test_an_answer_that_is_cut_or_encoded_is_named() -> None:
    cut = refuse_answer(HttpProbe("http://x/", 200, json={"version": "1"}), 200, b'{"x": "' + b"x" * 65529, cut=True)
    encoded = refuse_answer(HttpProbe("http://x/", 200, json={"version": "1"}), 200, b"\x0b", coding="br")

    assert cut == "http://x/ answered no JSON; only the first 64 KiB of its answer are read: let it answer less"
    assert encoded == "http://x/ answered with Content-Encoding br, which is not read"
    assert refuse_answer(HttpProbe("http://x/", 200), 200, b"\x0b", coding="br", cut=True) is None


def test_without_json_the_status_is_enough() -> None:
    assert refuse_answer(HttpProbe("http://x/", 200), 200, b"\xff") is None


def test_what_is_shown_after_a_failure_runs_as_its_step_and_is_short() -> None:
    shown = Words((Template.parse("tail"), Template.parse("{log}")))
    step = Step(
        "s", Script("true"), sudo=True, environment={"A_TOKEN": Template.parse("{text}")}, on_failure_show=shown
    )
    command = rendered(step, "hunter22", log="/var/log/shop").on_failure_show
    assert command is not None
    assert (command.argv, command.sudo) == (("tail", "/var/log/shop"), True)
    assert (command.timeout, command.output_limit) == (10, 4096)
    check = Step("c", TIMED_CHECK, environment={"A_TOKEN": Template.parse("hunter23")}, on_failure_show=shown)
    assert hidden_values([rendered(check, "0", wait="5", log="/x")]) == {"hunter23"}
