"""Nodes that lie about themselves, and servers that send absurd answers: each is a failure that says so, at once."""

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.unit.chef.test_chef_answers import WEB, answers, inventory, key, node, nodes, says, serving

from vesemir.adapters.chef.node_reader import MOST_CHARACTERS, MOST_VARIABLES
from vesemir.adapters.chef.paging import MOST_NODES, Page, read_all
from vesemir.domain.failure import FailedError, FailureCode
from vesemir.domain.target import Target

INVALID = FailureCode.TARGETS_INVALID_ATTRIBUTES
UNREACHABLE = FailureCode.TARGETS_INVENTORY_UNREACHABLE

__all__ = ["key"]


async def refusal(key: Path, reply: web.Response, **settings: Any) -> tuple[FailureCode, str]:
    handler, _ = answers(reply)
    async with serving(handler) as url, inventory(url, key, **settings) as chef:
        with pytest.raises(FailedError) as caught:
            await chef.resolve(WEB)
    assert len(caught.value.failure.message) < 3000
    return caught.value.failure.code, caught.value.failure.message


async def resolved(key: Path, *rows: dict[str, Any], **settings: Any) -> list[Target]:
    handler, _ = answers(nodes(*rows))
    async with serving(handler) as url, inventory(url, key, **settings) as chef:
        return await chef.resolve(WEB)


def at(address: str, name: str = "web1", **more: Any) -> dict[str, Any]:
    return node(name, **{"attribute ipaddress": address}, **more)


def saying(**variables: Any) -> dict[str, Any]:
    return node("web1", **{"attribute vesemir.variables": variables})


def absurd(text: str, name: str = "converged") -> web.Response:
    """A node with this JSON for an attribute."""
    return web.Response(text=json.dumps(body_of(node("web1", **{name: "HERE"}))).replace('"HERE"', text))


def body_of(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"total": len(rows), "start": 0, "rows": [{"url": "x", "data": row} for row in rows]}


@pytest.mark.parametrize(
    ("address", "settings"),
    [
        ("127.0.0.2", {}),  # redirect
        ("127.0.0.1", {}),  # loop
        ("::ffff:127.0.0.1", {}),
        ("169.254.169.254", {}),
        ("0.0.0.0", {}),  # noqa: S104 -- nothing is bound to it
        ("fe80::1%eth0", {}),
        ("10.0.0.1", {"allowed_networks": ["10.1.0.0/16"]}),
    ],
)
async def test_an_address_elsewhere_is_refused(key: Path, address: str, settings: dict[str, Any]) -> None:
    code, text = await refusal(key, nodes(at(address)), **settings)
    assert code is INVALID
    assert "'web1': " in text


async def test_the_operator_may_allow_loopback_as_the_lab_does(key: Path) -> None:
    (target,) = await resolved(key, at("127.0.0.2"), allowed_networks=["127.0.0.0/8"])
    assert target.address == "127.0.0.2"


async def test_two_nodes_with_one_address_and_port_fail_both(key: Path) -> None:
    """Also where it is written in another way; another port is another machine's, behind an address translation."""
    rows = [at("10.0.0.1"), at("::ffff:10.0.0.1", "web9"), at("10.0.0.1", "web2", **{"attribute vesemir.port": 2222})]
    code, text = await refusal(key, nodes(*rows))
    assert code is INVALID
    assert "2 of 3 nodes" in text
    assert "'web1': 10.0.0.1 port 22 is also that of web9" in text
    assert "'web9': 10.0.0.1 port 22 is also that of web1" in text
    assert "web2" not in text


async def test_what_runs_and_as_whom_is_not_a_nodes_to_say(key: Path) -> None:
    said = {"vesemir_supervisor": "/etc/passwd", "sudo": "true", "systemctl": "/tmp/mine", "haproxy_socket": "/run/x"}
    code, text = await refusal(key, nodes(saying(**said)))
    assert code is INVALID
    assert all(f"may not set the variable {name}" in text for name in said)
    (target,) = await resolved(key, saying(**said), allowed_variables=["*"])
    assert (target.variables, target.claimed) == (said, said.keys())


async def test_the_operators_own_value_wins(key: Path) -> None:
    said = saying(systemctl="/tmp/mine", app_root="/srv/shop")
    (target,) = await resolved(key, said, fixed_variables={"systemctl": "/usr/bin/systemctl", "zone": "a"})
    assert target.variables == {"systemctl": "/usr/bin/systemctl", "zone": "a", "app_root": "/srv/shop"}
    assert target.claimed == {"app_root"}


async def test_users_and_ports_are_the_operators_to_allow(key: Path) -> None:
    said = node("web1", **{"attribute vesemir.user": "root", "attribute vesemir.port": 80})
    rules = {"allowed_users": ["deploy"], "allowed_ports": [22, "2000-2999"]}
    code, text = await refusal(key, nodes(said), **rules)
    assert code is INVALID
    assert "'root' is not among allowed_users (deploy)" in text
    assert "80 is not among allowed_ports (22, 2000-2999)" in text
    (target,) = await resolved(key, said)
    assert (target.user, target.port) == ("root", 80)


@pytest.mark.parametrize(
    "text", ["9" * 400, "1e400", "NaN", "-Infinity", "-1"], ids=["hugetime", "float", "nan", "inf", "negative"]
)
async def test_a_time_that_is_none(key: Path, text: str) -> None:
    code, said = await refusal(key, absurd(text))
    assert (code, "is no time in seconds since 1970" in said) == (INVALID, True)


@pytest.mark.parametrize("name", ["9" * 5000, "w" * 5000, "web" + "1" * 300, "\u202ebew", "\ud800", "a\nb"])
async def test_a_name_that_is_none(key: Path, name: str) -> None:
    code, said = await refusal(key, nodes(node(name), node("web2")))
    assert (code, "its name is no host name" in said) == (INVALID, True)
    assert said.isprintable()
    assert said.encode()


@pytest.mark.parametrize(
    ("name", "depth", "code"),
    [
        ("converged", 100_000, INVALID),
        ("tags", 900, FailureCode.TARGETS_NONE_FOUND),
        ("attribute ipaddress", 900, INVALID),
        ("attribute vesemir.port", 900, INVALID),
        ("attribute vesemir.variables", 900, INVALID),
    ],
)
async def test_an_attribute_that_is_nested_too_deeply(key: Path, name: str, depth: int, code: FailureCode) -> None:
    """Too deep to be read at all, or just not."""
    assert (await refusal(key, absurd("[" * depth + "]" * depth, name)))[0] is code


@pytest.mark.parametrize(
    "variables",
    [
        {f"v{number}": "" for number in range(MOST_VARIABLES + 1)},
        {"long": "x" * (MOST_CHARACTERS + 1)},
        {"n" * 5000: "x"},
        {"a\nb": "x"},
        {"half": "\ud800"},
        {"nul": "\0"},
    ],
    ids=lambda given: next(iter(given))[:5],
)
async def test_variables_beyond_measure(key: Path, variables: dict[str, str]) -> None:
    code, _ = await refusal(key, nodes(saying(**variables)))
    assert code is INVALID


def filled(**more: Any) -> web.Response:
    return web.Response(text=json.dumps(body_of(node("web1")) | more))


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (web.Response(text='{"total":1,"start":0,"rows":' + "[" * 100_000 + "]" * 100_000 + "}"), INVALID),
        (web.Response(text='{"rows":[],"total":1e999}'), UNREACHABLE),
        (web.Response(text='{"rows":[],"total":' + "9" * 5000 + "}"), UNREACHABLE),
        (web.Response(text='{"rows":[],"total":"' + "9" * 5000 + '"}'), UNREACHABLE),
        (filled(total=10**400), UNREACHABLE),
        (filled(total=-1), UNREACHABLE),
        (filled(rows={"a": 1}), UNREACHABLE),
        (filled(rows=[[["x" * 100_000]]]), UNREACHABLE),
        (filled(rows=[{"data": {"name": ["x" * 100_000]}}]), UNREACHABLE),
        (web.Response(body=b" " * (16 * 1024 * 1024 + 1)), UNREACHABLE),
        (web.Response(status=400, text="[" * 100_000), UNREACHABLE),
        (says(401, "x", Date="Thu, 01 Jan 1970 00:00:00 +99999999999999999999"), FailureCode.TARGETS_INVENTORY_DENIED),
    ],
)
async def test_an_absurd_answer_is_a_failure_and_no_bug(key: Path, reply: web.Response, code: FailureCode) -> None:
    assert (await refusal(key, reply))[0] is code


async def test_a_server_that_never_comes_to_an_end() -> None:
    async def page_from(start: int) -> Page:
        return Page({f"web{start + index}": {} for index in range(10_000)}, sent=10_000, total=10_000_000)

    with pytest.raises(FailedError, match=f"more than {MOST_NODES} nodes"):
        await read_all(page_from, rows=10_000)


async def test_a_name_is_judged_by_what_it_resolves_to(key: Path) -> None:
    """When it is dialled; what another inventory says is not judged."""
    handler, _ = answers(nodes(at("localhost")))
    async with serving(handler) as url, inventory(url, key) as chef:
        (target,) = await chef.resolve(WEB)
        assert "a loopback address" in (chef.refuse_place(target, ["10.0.0.1", "127.0.0.1"]) or "")
        assert chef.refuse_place(target, ["10.0.0.1"]) is None
        assert chef.refuse_place(Target("web1", "localhost", source="inventory web1: address"), ["127.0.0.1"]) is None


async def test_thousands_of_nodes_that_lie_are_told_in_one_short_message(key: Path) -> None:
    """All with one address, so that every message is made."""
    rows = [at("10.0.0.1", f"web{number}") for number in range(1_000)]
    code, text = await refusal(key, nodes(*rows), rows=10_000)
    assert code is INVALID
    assert "1000 of 1000 nodes" in text
    assert "and 995 more" in text
