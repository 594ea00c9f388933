"""What a host may say of itself: addresses, users, ports and variables, by the operator's rules and by default."""

from ipaddress import ip_address, ip_network

import pytest

from vesemir.domain.names import Names
from vesemir.domain.node_rules import OPERATORS, IpAddress, NodeRules, PortRange

OWN = ip_address("10.0.0.9")


def is_own(address: IpAddress) -> bool:
    return address == OWN


def refused(address: str, *networks: str) -> str | None:
    rules = NodeRules(networks=tuple(map(ip_network, networks)) if networks else None)
    return rules.refuse_address(address, is_own=is_own)


@pytest.mark.parametrize("address", ["10.0.0.1", "192.168.1.1", "8.8.8.8", "2001:db8::1", "web1.example.com"])
def test_addresses_of_other_machines_are_allowed_by_default(address: str) -> None:
    assert refused(address) is None


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.1", "a loopback address"),
        ("127.200.0.1", "a loopback address"),
        ("::1", "a loopback address"),
        ("::ffff:127.0.0.1", "a loopback address"),
        ("169.254.169.254", "a link-local address"),
        ("fe80::1", "a link-local address"),
        ("0.0.0.0", "no address of a host"),  # noqa: S104 -- nothing is bound to it
        ("::", "no address of a host"),
        ("224.0.0.1", "a multicast address"),
        ("255.255.255.255", "a reserved address"),
        ("::127.0.0.1", "a reserved address"),
        ("10.0.0.9", "this instance's own"),
        ("::ffff:10.0.0.9", "this instance's own"),
        ("2001:db8::1%eth0", "a zone"),
    ],
)
def test_an_address_that_may_lead_to_the_instance_itself_is_refused_by_default(address: str, kind: str) -> None:
    assert kind in (refused(address) or "")


@pytest.mark.parametrize(
    ("address", "networks", "allowed"),
    [
        ("10.1.2.3", ["10.1.0.0/16"], True),
        ("10.2.2.3", ["10.1.0.0/16"], False),
        ("2001:db8::1", ["10.1.0.0/16", "2001:db8::/32"], True),
        ("127.0.0.2", ["0.0.0.0/0"], False),
        ("127.0.0.2", ["127.0.0.0/8"], True),
        ("127.0.0.2", ["127.0.0.2/32"], True),
        ("::1", ["::1/128"], True),
        ("169.254.169.254", ["169.254.0.0/16"], True),
        ("10.0.0.9", ["10.0.0.0/8"], False),
        ("10.0.0.9", ["10.0.0.0/8", "10.0.0.9/32"], True),
    ],
)
def test_networks_that_the_operator_names(address: str, networks: list[str], allowed: bool) -> None:  # noqa: FBT001
    """A wide one does not mean loopback, nor the instance's own address: those are named as such."""
    assert (refused(address, *networks) is None) is allowed


def test_users_and_ports() -> None:
    rules = NodeRules(users=Names(("deploy", "app-*")), ports=(PortRange(22, 22), PortRange(2000, 2999)))
    assert [rules.refuse_user(user) is None for user in ("deploy", "app-1", "root")] == [True, True, False]
    assert [rules.refuse_port(port) is None for port in (22, 2000, 2999, 3000)] == [True, True, True, False]
    assert rules.refuse_port(80) == "80 is not among allowed_ports (22, 2000-2999)"
    assert NodeRules().refuse_user("root") is None
    assert NodeRules().refuse_port(80) is None


@pytest.mark.parametrize(
    "name", ["vesemir_supervisor", "vesemir_state_dir", "haproxy_socket", "sudo", "systemctl", "systemctl_sudo"]
)
def test_what_runs_and_as_whom_is_not_a_nodes_to_say(name: str) -> None:
    assert "fixed_variables" in (NodeRules().refuse_variable(name) or "")
    assert NodeRules(variables=Names(("*",))).refuse_variable(name) is None


def test_variables_that_the_operator_names_are_all_that_a_node_may_set() -> None:
    rules = NodeRules(variables=Names(("app_*", "zone")))
    assert [rules.refuse_variable(name) is None for name in ("app_root", "zone", "service")] == [True, True, False]
    assert NodeRules().refuse_variable("app_root") is None


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_how_a_host_is_reached_is_the_operators_alone(name: str) -> None:
    assert "whatever" in (NodeRules(variables=Names(("*", name))).refuse_variable(name) or "")
