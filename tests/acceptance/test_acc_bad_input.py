"""What nobody should send: one clear refusal each, and the daemon goes on."""

import json
import secrets
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.installed_lab import Lab
from tests.acceptance.pika_requester import CONTROL, Requester
from tests.acceptance.running_daemon import Daemon
from tests.published import validate_event

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("instance")]

MEGABYTE = 1024 * 1024
COMMON = ("deployment_id", "application", "environment", "version")


def refused_bodies(lab: Lab) -> list[tuple[bytes, str, bool]]:
    """(body, code, whether it can be read who asks): the last says whether the common fields come back."""

    def event(**changes: Any) -> bytes:
        return json.dumps(lab.script("true", "web1") | changes).encode()

    return [
        (b"this is not JSON", "request.invalid", False),
        (b"", "request.invalid", False),
        (b"[1, 2, 3]", "request.invalid", False),
        (b"[" * 200_000, "request.invalid", False),
        (b'{"parameters": ' + b'{"a": ' * 50_000 + b"1" + b"}" * 50_000 + b"}", "request.invalid", False),
        (event().replace(b"lab-script", b"lab-\xff\xfe"), "request.invalid", False),
        (b"\xff\xfe\x00\x01", "request.invalid", False),
        (event(schema="vesemir.deploy/2"), "request.invalid", True),
        (event(on_failur="stop"), "request.invalid", True),
        (event(rollout={"on_failur": "rollback"}), "request.invalid", True),
        (event(targets={"hosts": ["web1"], "inventory": {"groups": ["all"]}}), "request.invalid", True),
        (event(rollout={"concurrency": 0}), "request.invalid", True),
        (event(haproxy={**lab.haproxy_part, "weight": 100}), "request.invalid", True),
        (event(haproxy={**lab.haproxy_part, "server": "web1; disable server shop/web1"}), "request.invalid", True),
        (event(recipe="no-such-recipe"), "request.unknown_recipe", True),
        (event(recipe="../../etc/passwd"), "request.unknown_recipe", True),
        (event(parameters={"script": "true", "shell": "sh"}), "request.invalid_parameters", True),
        (event(parameters={}), "request.invalid_parameters", True),
        (event(parameters={"script": 5}), "request.invalid_parameters", True),
        (event(targets={"hosts": ["web1", "no-such-host"]}), "targets.unknown_host", True),
        (event(targets={"hosts": ["web1;reboot"]}), "targets.unknown_host", True),
        (event(parameters={"script": "x" * 5 * MEGABYTE}), "request.too_large", False),
    ]


def test_each_bad_message_gets_one_clear_refusal(lab: Lab, requester: Requester, instance: Daemon) -> None:
    """On ``reply_to`` and, byte for byte, in ``vesemir.rejected``; the next event works."""
    requester.purge_rejected()
    bad = refused_bodies(lab)
    ids = [requester.publish(body) for body, _, _ in bad]
    answers = [requester.answer(correlation_id) for correlation_id in ids]

    for (body, code, readable), answer in zip(bad, answers, strict=True):
        validate_event(answer.body)
        assert answer.event == "deployment.rejected"
        assert answer.body["sequence"] == 0
        failure = answer.body["failure"]
        assert failure["code"] == code, (body[:80], failure)
        assert failure["runbook"] == "docs/runbook.md#" + code.replace(".", "-").replace("_", "-")
        assert failure["details"]
        assert all(detail.keys() == {"field", "message"} for detail in failure["details"])
        said = [answer.body[name] for name in COMMON]
        assert said == ([json.loads(body)[name] for name in COMMON] if readable else [None] * 4)
        assert (answer.properties.type, answer.properties.app_id) == ("deployment.rejected", "vesemir")

    copies = [requester.take_rejected() for _ in bad]
    assert sorted(body for body, _ in copies) == sorted(body for body, _, _ in bad)
    codes = {body: code for body, code, _ in bad}
    for body, properties in copies:
        assert properties.headers["x-vesemir-code"] == codes[body]
        assert properties.headers["x-vesemir-reason"]
        assert properties.delivery_mode == 2

    assert requester.deploy(lab.script("true", "web1"))["status"] == "succeeded"
    assert len([each for each in requester.replies if each.properties.correlation_id in ids]) == len(bad)
    assert requester.waiting_in("vesemir.rejected") == 0
    assert instance.health()[0] == 200


def test_a_reply_to_of_our_own_is_refused_and_not_answered(lab: Lab, requester: Requester) -> None:
    """The copy goes to ``vesemir.rejected`` alone; a following request of the same id is a new one."""
    requester.purge_rejected()
    event = lab.script("true", "web1")
    body = json.dumps(event).encode()
    requester.publish(body, reply_to="vesemir.control")
    copy, properties = requester.take_rejected()
    assert copy == body
    assert properties.headers["x-vesemir-code"] == "request.forbidden"
    assert requester.deploy(event)["status"] == "succeeded"
    assert requester.waiting_in("vesemir.rejected") == 0


def test_a_refusal_without_reply_to_is_copied_only(requester: Requester) -> None:
    requester.purge_rejected()
    requester.publish(b"nobody asks", reply_to=None)
    copy, properties = requester.take_rejected()
    assert (copy, properties.headers["x-vesemir-code"]) == (b"nobody asks", "request.invalid")


def test_unreadable_control_messages_are_refused(requester: Requester) -> None:
    """Those that could not be read are copied, too; the others are only answered."""
    requester.purge_rejected()
    bad = [b"{", b'{"schema": "vesemir.control/1", "command": "explode", "deployment_id": "d"}', b"\xff" * 2000]
    for body in bad:
        answer = requester.answer(requester.publish(body, queue=CONTROL))
        validate_event(answer.body)
        assert (answer.event, answer.body["failure"]["code"]) == ("control.rejected", "request.invalid")
        copy, _ = requester.take_rejected()
        assert copy == body


def test_shell_characters_reach_the_program_as_the_same_bytes(lab: Lab, requester: Requester, tmp_path: Path) -> None:
    """Nothing but the recipe's own program sees them."""
    canary = tmp_path / "canary"
    values = [
        f"$(touch {canary})", f"`touch {canary}`", f"; touch {canary}", f"| touch {canary}", f"&& touch {canary} &",
        f"\n touch {canary}\n", f"'; touch {canary}; '", f'"; touch {canary}; "', f"\\'; touch {canary}",
        f"> {canary}", "-n", "--", "%s%n", "* ? [a-z] ~ {a,b} !! #", "{target_name} {{version}} {", "$1 $@ ${IFS}",
        "\\", "\\n\\0", "tab\there\r\n", "\x01\x02\x1b[31m\x7f", "žluťoučký kůň \U0001f40e \u202e", "a" * 60_000,
        " leading and trailing ", "",
    ]  # fmt: skip
    values.append("\n".join(value for value in values if len(value) < 1000))
    names = [f"argument-{secrets.token_hex(6)}" for _ in values]
    events = [
        lab.script(
            f'printf %s "$1" > "$BOX_ROOT/{name}"', "web1", parameters={"argument": value}, requested_by=value[:99]
        )
        for name, value in zip(names, values, strict=True)
    ]
    for event in events:
        requester.publish(event)
    for event, name, value in zip(events, names, values, strict=True):
        assert requester.finished(event["deployment_id"])["status"] == "succeeded"
        assert (lab.root("web1") / name).read_bytes() == value.encode()
    assert not canary.exists()


def test_shell_characters_elsewhere_do_nothing(lab: Lab, requester: Requester, tmp_path: Path) -> None:
    """Fields that have a form are refused; a URL may hold anything but spaces, and is no command."""
    canary = tmp_path / "canary"
    touch = f"$(touch${{IFS}}{canary})`touch${{IFS}}{canary}`;touch${{IFS}}{canary}"
    for field in ("version", "application", "environment", "team", "deployment_id"):
        answer = requester.answer(requester.publish(lab.script("true", "web1") | {field: f"1{touch}"}))
        assert answer.body["failure"]["code"] == "request.invalid"
        assert [detail["field"] for detail in answer.body["failure"]["details"]] == [field]

    event = lab.event(application="metacharacters", targets={"hosts": ["web1"]}, haproxy=None)
    event["parameters"] |= {"artifact_url": f"file:///{touch}"}
    served = lab.current("web1")
    result = requester.deploy(event)
    assert (result["status"], result["targets"][0]["failure"]["code"]) == ("failed", "artifact.unavailable")
    answer = requester.answer(
        requester.publish(lab.event(parameters={**event["parameters"], "artifact_sha256": touch}))
    )
    assert answer.body["failure"]["code"] == "request.invalid_parameters"
    assert not canary.exists()
    assert lab.current("web1") == served
