"""A log line: one JSON object, with its context, the libraries' lines among them, and without secrets."""

import asyncio
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest
from loguru import logger

from vesemir.adapters.observe import engine_log, set_up_logging
from vesemir.adapters.observe.logs import LIBRARIES, EngineLog

Lines = Callable[[], list[dict[str, Any]]]


class Output(io.StringIO):
    """Standard output of a test, a terminal if need be."""

    terminal = False

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.patch = patch

    def isatty(self) -> bool:
        return self.terminal


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> Iterator[Output]:
    """The log is the process's: what was set up is taken back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in LIBRARIES}
    yield Output(monkeypatch)
    logger.remove()
    logger.configure(extra={}, patcher=lambda _: None)
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)


def lines(output: Output) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.getvalue().splitlines()]


def set_up(output: Output, level: str = "INFO", how: Literal["auto", "json", "text"] = "json") -> EngineLog:
    output.patch.setattr("sys.stdout", output)  # here, because pytest sets its own after the fixtures
    set_up_logging(level, how, secrets=["hunter22"])
    return engine_log(instance="here/1")


def test_a_line_is_json_with_the_fields_of_its_context(output: Output) -> None:
    log = set_up(output)
    with log.context(deployment_id="d1", epoch=7):
        log.info("started {count} targets", count=3)
    log.info("after")
    first, second = lines(output)
    assert first["message"] == "started 3 targets"
    assert (first["level"], first["instance"], first["deployment_id"]) == ("INFO", "here/1", "d1")
    assert (first["epoch"], first["count"]) == (7, 3)
    assert first["time"].endswith("Z")
    assert first["logger"] == __name__
    assert "deployment_id" not in second


def test_a_text_without_fields_is_taken_as_it_is(output: Output) -> None:
    log = set_up(output)
    log.warning(f"the broker answered {{'a': {1}}}, {{0}} and {{name}}")
    (line,) = lines(output)
    assert line["message"] == "the broker answered {'a': 1}, {0} and {name}"
    assert set(line) == {"time", "level", "logger", "message", "instance"}


async def test_each_task_has_its_own_context(output: Output) -> None:
    log = set_up(output)
    both = asyncio.Barrier(2)

    async def work(name: str) -> None:
        with log.context(target=name):
            await both.wait()
            log.info("in {name}", name=name)

    await asyncio.gather(work("web1"), work("web2"))
    assert {(line["target"], line["name"]) for line in lines(output)} == {("web1", "web1"), ("web2", "web2")}


def test_nothing_secret_is_printed_by_any_way(output: Output) -> None:
    log = set_up(output)
    log.info("amqp://guest:hunter22@broker/ and hunter22", dsn="postgresql://me:other@db/x")
    try:
        password = "hunter22"
        raise ConnectionError(f"login with {password} to amqp://u:secret9@host failed")
    except ConnectionError:
        log.exception("a bug near {what}", what="hunter22")
    logging.getLogger("aiormq").error("amqp://u:secret9@host")
    text = output.getvalue()
    assert "hunter22" not in text
    assert "secret9" not in text
    assert ":other@" not in text
    assert "amqp://guest:•••@broker/" in text


def test_a_traceback_is_one_line_and_names_no_values(output: Output) -> None:
    log = set_up(output)
    try:
        local_value = {"k": "visible"}
        raise KeyError("missing", len(local_value))
    except KeyError:
        log.exception("failed")
    (line,) = lines(output)
    assert line["exception"].startswith("Traceback")
    assert "KeyError: ('missing', 1)" in line["exception"]
    assert "visible" not in line["exception"].replace('{"k": "visible"}', "")


def test_the_libraries_records_come_too_from_where_they_were_logged(output: Output) -> None:
    set_up(output)
    logging.getLogger("aiormq.connection").warning("lost %s {braces}", "it")
    logging.getLogger("asyncssh").info("too much of this")
    (line,) = lines(output)
    assert (line["message"], line["library"]) == ("lost it {braces}", "aiormq.connection")
    assert line["logger"] == __name__


def test_bodies_of_messages_are_never_printed_however_much_is_asked_for(output: Output) -> None:
    set_up(output, "TRACE")
    logging.getLogger("aiormq.connection").debug("Prepare to send b'the body of a refused event'")
    logging.getLogger("asyncssh").debug("a channel")
    assert [line["message"] for line in lines(output)] == ["a channel"]


def test_warnings_are_logged(output: Output) -> None:
    set_up(output)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old ways", UserWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    assert "old ways" in lines(output)[0]["message"]


def test_the_level_holds_back_what_is_below(output: Output) -> None:
    log = set_up(output, "WARNING")
    log.info("no")
    log.warning("yes")
    assert [line["message"] for line in lines(output)] == ["yes"]


def test_what_json_does_not_know_is_written_as_text(output: Output) -> None:
    log = set_up(output)
    log.info(
        "odd",
        where={
            1,
        },
        lone="\ud800",
    )
    (line,) = lines(output)
    assert line["where"] == "{1}"


@pytest.mark.parametrize(
    ("terminal", "no_color", "coloured"), [(True, "", True), (True, "1", False), (False, "", False)]
)
def test_text_is_coloured_only_where_it_is_wanted(
    output: Output, monkeypatch: pytest.MonkeyPatch, *, terminal: bool, no_color: str, coloured: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    output.terminal = terminal
    log = set_up(output, how="auto" if terminal else "text")
    with log.context(deployment_id="d1"):
        log.info("<b>hunter22</b> {braces}")
    text = output.getvalue()
    assert ("\x1b[" in text) is coloured
    assert "<b>•••</b> {braces}" in text
    assert "d1" in text
    assert text.count("\n") == 1


def test_auto_is_json_where_nobody_looks(output: Output) -> None:
    set_up(output, how="auto").info("for machines")
    assert lines(output)[0]["message"] == "for machines"


def test_no_text_from_outside_passes_for_a_line_of_its_own(output: Output) -> None:
    log = set_up(output, how="text")
    with log.context(deployment_id="d1", target="web1\n23:00 ERROR"):
        log.info("its last line: evil\n23:00:00 ERROR forged\x1b[2J\u2028\x9b2J")
    head, *rest = output.getvalue().splitlines()
    assert "d1" in head
    assert all(line.startswith("      | ") for line in rest)
    assert not set("\x1b\u2028\x9b") & set(output.getvalue())


def test_a_line_of_json_is_one_line_for_every_reader(output: Output) -> None:
    """Not for those alone that break at a line feed: ``str.splitlines`` knows ten ways."""
    set_up(output).info("a\nb\x85c\u2028d\x9be")
    text = output.getvalue()
    assert len(text.splitlines()) == 1
    assert json.loads(text)["message"] == "a\nb\x85c\u2028d\x9be"


async def test_a_deployments_own_secrets_are_hidden_in_its_context_and_its_tasks_alone(output: Output) -> None:
    log = set_up(output)
    with log.hiding(lambda text: text.replace("s3cret", "•••")):
        await asyncio.create_task(_say(log, "s3cret"))
        logging.getLogger("asyncssh").warning("no login with s3cret")
        try:
            _fail("s3cret")
        except ValueError:
            log.exception("a bug")
    log.info("s3cret of another deployment")
    *within, after = output.getvalue().splitlines()
    assert len(within) == 3
    assert "s3cret" not in "".join(within)
    assert "s3cret" in after


def _fail(text: str) -> None:
    raise ValueError(text)


async def _say(log: EngineLog, text: str) -> None:
    log.info("said {text}", text=text, also={"in": [text, 1]})


def test_what_is_not_text_is_looked_through_too(output: Output) -> None:
    set_up(output).info("odd", of={"hunter22": ["hunter22", 1, None, ("hunter22",)]}, where={"hunter22"})
    assert lines(output)[0]["of"] == {"•••": ["•••", 1, None, ["•••"]]}
    assert "hunter22" not in output.getvalue()
