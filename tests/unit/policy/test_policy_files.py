"""Policy files: what they may hold, that everything wrong is told with its line, and that changes come in force."""

import os
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.unit.engine.world import Lines

from vesemir.adapters.policy import PolicyFile, PolicyFileError, read_policy
from vesemir.domain.control import ControlledDeployment
from vesemir.domain.freeze import frozen_until
from vesemir.domain.identity import Asker, Identity, IdentityNames, Person, Persons
from vesemir.domain.policy import ALLOW_ALL, Policy
from vesemir.domain.request import DeployRequest, Rollout, TrafficRequest
from vesemir.domain.selector import GroupSelector
from vesemir.domain.share import Share

SHIPPED = Path(__file__).parents[3] / "config" / "policy.toml"


def read(folder: Path, text: str) -> Policy:
    file = folder / "policy.toml"
    file.write_text(text)
    return read_policy(file)


def at(text: str) -> float:
    """Seconds since the epoch of a moment in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def test_the_shipped_file_allows_everything_and_its_examples_are_sound(tmp_path: Path) -> None:
    text = SHIPPED.read_text()
    assert read_policy(SHIPPED) == ALLOW_ALL
    uncommented = "\n".join(re.sub(r"^# (?=\w+ = |\[)", "", line) for line in text.splitlines())
    policy = read(tmp_path, uncommented)
    (permission,), (limit, fair) = policy.permissions, policy.limits
    assert [freeze.name for freeze in policy.freezes] == ["christmas", "weekend", "nights"]
    assert (permission.name, str(permission.users)) == ("payments-production", "payments-bot")
    assert permission.targets is not None
    assert permission.targets.chef is not None
    assert permission.balancers is not None
    assert str(permission.servers) == "shop-web-*"
    assert (limit.max_targets, limit.max_concurrency) == (200, Share(25, percent=True))
    assert fair.name == "fair"
    assert [(each.name, each.max_waiting, each.max_running) for each in policy.quotas] == [("fair", 20, 3)]
    assert [(each.name, each.soak) for each in policy.promotions] == [("staged", 7200)]
    assert policy.contact == "the platform team, #deployments"
    assert [(each.name, each.commands, each.not_requester) for each in policy.controls] == [
        ("on-call", None, False),
        ("payments", ("cancel", "pause", "resume"), True),
    ]
    (person,) = policy.persons.known
    assert (person.name, sorted(map(str, person.identities))) == ("on-call", ["amqp:on-call", "amqp:on-call-laptop"])


def test_identities_that_are_one(tmp_path: Path) -> None:
    text = "[[identity]]\nname = 'anna'\nis = ['anna', 'token:laptop']\n[[allow]]\nname = 'a'\nusers = ['anna']"
    policy = read(tmp_path, text)
    assert policy.persons == Persons((Person("anna", frozenset(map(Identity.of, ("anna", "token:laptop")))),))
    (permission,) = policy.permissions
    assert permission.users == IdentityNames(("anna",))


def test_where_traffic_may_be_moved(tmp_path: Path) -> None:
    rules = {
        "open": "",
        "none": "haproxy = false",
        "servers": "haproxy = { servers = ['web-*'] }",
        "backends": "haproxy = { backends = ['shop'] }",
    }
    policy = read(tmp_path, "\n".join(f"[[allow]]\nname = '{name}'\n{text}" for name, text in rules.items()))
    assert [(each.traffic, each.is_open_to_all_backends) for each in policy.permissions] == [
        (True, True),
        (False, False),
        (True, False),
        (True, False),
    ]
    assert [str(each.servers) for each in policy.permissions] == ["None", "None", "web-*", "None"]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("x = 1", 1, "x: unknown key"),
        ("= 1", 1, "is no TOML"),
        ("[[allow]]\nusers = ['a']", 1, "allow[0].name: is missing"),
        ("[[allow]]\nname = 'a'\nuser = ['a']", 3, "allow[0].user: unknown key"),
        ("[[allow]]\nname = 'a'\nusers = []", 3, "allow[0].users"),
        ("[[allow]]\nname = 'a b'", 2, "allow[0].name"),
        ("[[allow]]\nname = 'a'\n[[allow]]\nname = 'a'", 2, "more than one allow is named a"),
        ("otherwise = 'no'", 1, "otherwise"),
        ("[[control]]\ncommands = ['cancel']", 1, "control[0].name: is missing"),
        ("[[control]]\nname = 'a'\n[[control]]\nname = 'a'", 2, "more than one control is named a"),
        ("[[control]]\nname = 'a'\ncommands = []", 3, "control[0].commands"),
        ("[[control]]\nname = 'a'\ncommands = ['resume', 'approve']", 3, "control[0].commands[1]"),
        ("[[control]]\nname = 'a'\nidentities = []", 3, "control[0].identities"),
        ("[[control]]\nname = 'a'\nusers = ['x']", 3, "control[0].users: unknown key"),
        ("[[control]]\nname = 'a'\nnot_requester = 'yes'", 3, "control[0].not_requester"),
        (
            "[[control]]\nname = 'a'\ncommands = ['cancel']\nnot_requester = true",
            4,
            "control[0].not_requester: is about approvals, which are resumes",
        ),
        ("[[identity]]\nname = 'a'", 1, "identity[0].is: is missing"),
        ("[[identity]]\nname = 'a'\nis = []", 3, "identity[0].is"),
        ("[[identity]]\nname = 'a'\nis = ['x', 'bot-*']", 3, "identity[0].is[1]: must be one identity, without *"),
        ("[[identity]]\nname = 'a'\nis = ['oidc:']", 3, "identity[0].is[0]: has no name after oidc:"),
        ("[[identity]]\nname = 'a'\nis = ['x']\n[[identity]]\nname = 'a'\nis = ['y']", 2, "more than one identity"),
        ("[[identity]]\nname = 'a'\nis = ['x']\n[[identity]]\nname = 'b'\nis = ['amqp:x']", 6, "amqp:x is a already"),
        ("[[identity]]\nname = 'a'\nis = ['b']\n[[identity]]\nname = 'b'\nis = ['x']", 5, "is the RabbitMQ user of a"),
        ("[[allow]]\nname = 'a'\nhaproxy = true", 3, "allow[0].haproxy: must be false, or a table"),
        ("[[allow]]\nname = 'a'\nhaproxy = { server = ['a'] }", 3, "allow[0].haproxy.server: unknown key"),
        ("[[allow]]\nname = 'a'\nhaproxy = { servers = [] }", 3, "allow[0].haproxy.servers"),
        ("[[limit]]\nname = 'a'\nmax_concurrency = '250%'", 3, "limit[0].max_concurrency"),
        ("[[limit]]\nname = 'a'\nmax_concurrency = true", 3, "whole number or a percentage"),
        ("[[limit]]\nname = 'a'\nmax_targets = 0", 3, "limit[0].max_targets"),
        ("[[limit]]\nname = 'a'\nrequire = ['canary']", 3, "limit[0].require"),
        ("[[freeze]]\nname = 'a'", 1, "freeze[0]: give from and until"),
        ("[[freeze]]\nname = 'a'\nfrom = 'fri 16:00'\nuntil = 'mon 08:00'", 1, "needs a timezone"),
        (
            "[[freeze]]\nname = 'a'\nfrom = 'x'\nuntil = 'y'\ntimezone = 'UTC'",
            3,
            "must be a day and a time",
        ),
        ("[[freeze]]\nname = 'a'\ndays = ['fri']\nfrom = '25:00'\ntimezone = 'UTC'", 4, "must be a time of day"),
        ("[[freeze]]\nname = 'a'\ndays = ['fri']\nuntil = '24:01'\ntimezone = 'UTC'", 4, "must be a time of day"),
        ("[[freeze]]\nname = 'a'\ndays = ['friday']", 3, "freeze[0].days[0]"),
        ("[[freeze]]\nname = 'a'\ndays = ['fri']\ntimezone = 'Mars/Base'", 4, "no time zone that this system knows"),
        ("[[freeze]]\nname = 'a'\nfrom = 2026-12-20\nuntil = 2026-12-21", 3, "needs a time of day too"),
        ("[[freeze]]\nname = 'a'\nfrom = 5\nuntil = 6", 3, "must be a date with time"),
        ("[[freeze]]\nname = 'a'\nfrom = 2026-12-20T00:00:00\nuntil = 2026-12-21T00:00:00", 1, "needs a timezone"),
        ("[[freeze]]\nname = 'a'\nfrom = 2026-12-21T00:00:00Z\nuntil = 2026-12-20T00:00:00Z", 4, "later than from"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, line: int, reason: str) -> None:
    with pytest.raises(PolicyFileError) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'policy.toml'}:{line}: ")
    assert reason in str(caught.value)


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    with pytest.raises(PolicyFileError, match=r"cannot be read: No such file.*check policy\.file"):
        read_policy(tmp_path / "none.toml")
    (tmp_path / "policy.toml").write_bytes(b"\n# \xff")
    with pytest.raises(PolicyFileError, match=r"policy\.toml:2: is not UTF-8 text"):
        read_policy(tmp_path / "policy.toml")


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(PolicyFileError) as caught:
        read(tmp_path, "[[freeze]]\nname = 'a'\n[[freeze]]\nname = 'b'\ndays = ['mon']\n")
    assert len(str(caught.value).splitlines()) == 2


# --- windows ----------------------------------------------------------------------------------------------------------

BERLIN = "timezone = 'Europe/Berlin'\n"
WEEKEND = "from = 'fri 16:00'\nuntil = 'mon 08:00'\n" + BERLIN
NIGHTS = "days = ['mon', 'tue']\nfrom = '22:00'\nuntil = 06:00:00\n" + BERLIN
DAYS = "days = ['sat', 'sun']\n" + BERLIN
SPAN = "from = 2026-12-20T00:00:00\nuntil = 2027-01-04T08:00:00\n" + BERLIN
SUMMER = "from = 'sat 12:00'\nuntil = 'sun 12:00'\n" + BERLIN


@pytest.mark.parametrize(
    ("window", "moment", "until"),
    [
        (WEEKEND, "2026-11-27T14:59", None),
        (WEEKEND, "2026-11-27T15:00", "2026-11-30T08:00+01:00"),
        (WEEKEND, "2026-11-30T06:59:59", "2026-11-30T08:00+01:00"),
        (WEEKEND, "2026-11-30T07:00", None),
        (NIGHTS, "2026-11-23T20:59", None),
        (NIGHTS, "2026-11-23T21:00", "2026-11-24T06:00+01:00"),
        (NIGHTS, "2026-11-25T04:59", "2026-11-25T06:00+01:00"),
        (NIGHTS, "2026-11-25T21:00", None),
        (DAYS, "2026-11-28T10:00", "2026-11-30T00:00+01:00"),
        (DAYS, "2026-11-29T22:59", "2026-11-30T00:00+01:00"),
        (DAYS, "2026-11-29T23:00", None),
        (SPAN, "2026-12-19T22:59", None),
        (SPAN, "2026-12-19T23:00", "2027-01-04T08:00+01:00"),
        (SPAN, "2027-01-04T07:00", None),
        ("from = 2026-12-20T00:00:00Z\nuntil = 2026-12-20T01:00:00Z\n", "2026-12-20T00:30", "2026-12-20T01:00+00:00"),
        # Clocks go back an hour in the night of 25 October 2026, and forward on 28 March 2027.
        (SUMMER, "2026-10-24T10:00", "2026-10-25T12:00+01:00"),
        (SUMMER, "2026-10-25T10:59", "2026-10-25T12:00+01:00"),
        (SUMMER, "2026-10-25T11:00", None),
        (SUMMER, "2027-03-28T09:59", "2027-03-28T12:00+02:00"),
        (SUMMER, "2027-03-28T10:00", None),
    ],
)
def test_when_a_freeze_holds_and_when_it_ends(tmp_path: Path, window: str, moment: str, until: str | None) -> None:
    (freeze,) = read(tmp_path, f"[[freeze]]\nname = 'a'\n{window}").freezes
    end = frozen_until(freeze.windows, at(moment))
    assert (end and end.text) == until
    if end is not None:
        assert end.at == datetime.fromisoformat(end.text).timestamp()


def test_a_freeze_without_end_is_said_to_be_long(tmp_path: Path) -> None:
    (freeze,) = read(tmp_path, f"[[freeze]]\nname = 'a'\nfrom = 'mon 00:00'\nuntil = 'mon 00:00'\n{BERLIN}").freezes
    end = frozen_until(freeze.windows, at("2026-11-25T00:00"))
    assert end is not None
    assert end.at > at("2027-10-01T00:00")


# --- changes while it runs --------------------------------------------------------------------------------------------


def write(file: Path, text: str) -> None:
    """As a new file that takes the place of the old one."""
    fresh = file.with_suffix(".new")
    fresh.write_text(text)
    os.replace(fresh, file)  # noqa: PTH105 - what it is about


def test_a_change_comes_in_force_and_a_broken_one_does_not(tmp_path: Path) -> None:
    file, log = tmp_path / "policy.toml", Lines()
    write(file, "contact = 'one'")
    rules = PolicyFile(file, log=log)
    assert (rules.current.contact, rules.problem) == ("one", "")
    rules.refresh()
    assert log.lines == []
    write(file, "contact = 'two'")
    rules.refresh()
    assert rules.current.contact == "two"
    write(file, "contakt = 'three'")
    for _ in range(3):
        rules.refresh()
    assert rules.current.contact == "two"
    assert "policy.toml:1: contakt: unknown key" in rules.problem
    assert len(log.of("error")) == 1
    file.unlink()
    rules.refresh()
    assert (rules.current.contact, "cannot be read" in rules.problem) == ("two", True)
    write(file, "contact = 'four'")
    rules.refresh()
    assert (rules.current.contact, rules.problem) == ("four", "")


def test_a_broken_file_at_the_start_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "policy.toml", "x = 1")
    with pytest.raises(PolicyFileError):
        PolicyFile(tmp_path / "policy.toml", log=Lines())


def test_without_a_file_everything_stays_allowed() -> None:
    rules = PolicyFile(None, log=Lines())
    rules.refresh()
    assert (rules.current, rules.problem) == (ALLOW_ALL, "")


def test_a_file_from_before_promotions_and_quotas_means_what_it_meant() -> None:
    """All of the example of then, which ``before_promotions.toml`` keeps."""
    policy = read_policy(Path(__file__).with_name("before_promotions.toml"))
    assert (policy.promotions, policy.quotas, policy.most_running) == ((), (), {})
    bot, anybody, laptop = (Asker.by_amqp(name) for name in ("payments-bot", "anybody", "on-call-laptop"))
    normal, christmas, weekend = (at(f"2026-{each}:00") for each in ("11-25T12:00", "12-24T12:00", "11-28T12:00"))
    request = DeployRequest(
        deployment_id="d1",
        application="shop",
        environment="production",
        version="2",
        recipe="release",
        targets=GroupSelector(("shop-web",)),
        team="payments",
        requested_by="orchestrator",
        haproxy=TrafficRequest(GroupSelector(("shop-lb",)), ("shop",), "{name}"),
        rollout=Rollout(canary=Share(1), min_available=Share(50, percent=True)),
    )
    without_canary = replace(request, rollout=Rollout(min_available=Share(50, percent=True)))

    def fields(asked: DeployRequest, asker: Asker, now: float) -> list[str]:
        return [problem.field for problem in policy.judge(asked, asker, now)]

    assert fields(request, bot, normal) == []
    assert fields(request, anybody, normal) == ["user_id"]
    assert fields(request, bot, christmas) == ["environment"]
    assert fields(request, bot, weekend) == ["environment"]
    assert fields(replace(request, dry_run=True), bot, christmas) == []
    assert fields(request, laptop, christmas) == ["user_id"]
    assert fields(without_canary, bot, normal) == ["rollout.canary"]
    assert fields(replace(request, application="blog"), bot, normal) == ["application"]
    assert [problem.field for problem in policy.judge_targets(request, bot, ["w"] * 201)] == ["targets"]
    assert policy.judge_promotion(request, []) == []
    assert policy.waiting_quotas(request, bot) == policy.running_quotas(request, bot) == ()
    deployment = ControlledDeployment("shop", "production", "2", requester=bot.identity, awaits_approval=True)
    assert policy.judge_control("resume", deployment, laptop) == []
    assert policy.judge_control("resume", deployment, bot) != []
    assert policy.judge_control("cancel", deployment, bot) != []
