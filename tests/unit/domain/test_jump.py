"""Jump hosts as they are written, and which of them are before a target."""

import pytest

from vesemir.domain.jump import Jump, parse_jumps, refuse_jumps, way_to
from vesemir.domain.target import Target


@pytest.mark.parametrize(
    ("text", "jumps"),
    [
        ("", ()),
        ("none", ()),
        ("bastion1", (Jump("bastion1"),)),
        ("bastion1, ops@bastion2:2222", (Jump("bastion1"), Jump("bastion2", 2222, "ops"))),
        ("192.0.2.7:22", (Jump("192.0.2.7", 22),)),
        ("2001:db8::7", (Jump("2001:db8::7"),)),
        ("a.b@c@[2001:db8::7]:2222", (Jump("2001:db8::7", 2222, "a.b@c"),)),
    ],
)
def test_read(text: str, jumps: tuple[Jump, ...]) -> None:
    assert parse_jumps(text) == jumps


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a,,b", "no jump host"),
        ("a b", "neither a host name"),
        ("a:0", "port"),
        ("a:99999", "port"),
        ("[192.0.2.7]x", "no jump host"),
        ("-oProxyCommand=x@a", "user name"),
        ("a,b,a", "twice"),
        ("none,a,none", "twice"),
    ],
)
def test_refused(text: str, why: str) -> None:
    assert why in (refuse_jumps(text) or "")


def test_a_jump_host_is_reached_by_those_before_it() -> None:
    assert way_to(Target("web1", "192.0.2.9"), "b1,b2") == (Jump("b1"), Jump("b2"))
    assert way_to(Target("b1", "192.0.2.9"), "b1,b2") == ()
    assert way_to(Target("b2", "192.0.2.9"), "b1,b2") == (Jump("b1"),)
    assert way_to(Target("x", "192.0.2.9"), "b1,192.0.2.9") == (Jump("b1"),)
    assert way_to(Target("x", "192.0.2.9", 2222), "192.0.2.9") == (Jump("192.0.2.9"),)
