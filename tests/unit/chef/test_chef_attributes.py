"""What a node says of itself becomes a target, or a clear reason why not."""

from typing import Any

import pytest

from vesemir.adapters.chef.inventory import natural
from vesemir.adapters.chef.node_reader import AttributeProblemError, NodeReader
from vesemir.adapters.chef.query import ChefMembership
from vesemir.domain.target import Target
from vesemir.settings import ChefClusterSettings

SETTINGS: dict[str, Any] = {"url": "http://127.0.0.1:1", "client_name": "vesemir", "client_key": "/nowhere"}
MISSING = "ERROR - Attribute does not exist"
NOW = 1_800_000_000.0


def reader(**settings: Any) -> NodeReader:
    return NodeReader(ChefClusterSettings.model_validate({**SETTINGS, **settings}), cluster="lab")


def row(name: str = "web1", **attributes: Any) -> dict[str, Any]:
    """As a partial search answers: every path asked for is there, with null or a text for what is missing."""
    found = dict.fromkeys(reader().wanted) | {"name": name, "attribute ipaddress": "10.0.0.1"}
    return found | {f"attribute {path}".replace("__", "."): value for path, value in attributes.items()}


def target(attributes: dict[str, Any], **settings: Any) -> Target:
    return reader(**settings).target(attributes, idle_seconds=1)


def test_every_attribute_is_asked_for_by_its_path() -> None:
    wanted = reader(address_attributes=["a.b", "c"], variables={"zone": "ec2.az"}).wanted
    assert wanted == {
        "name": ["name"],
        "environment": ["chef_environment"],
        "tags": ["tags"],
        "roles": ["roles"],
        "recipes": ["recipes"],
        "converged": ["ohai_time"],
        "attribute a.b": ["a", "b"],
        "attribute c": ["c"],
        "attribute vesemir.port": ["vesemir", "port"],
        "attribute vesemir.user": ["vesemir", "user"],
        "attribute vesemir.variables": ["vesemir", "variables"],
        "attribute ec2.az": ["ec2", "az"],
    }


def test_a_node_becomes_a_target_that_says_where_its_address_came_from() -> None:
    found = target(row(cloud__local_ipv4="10.1.1.1", vesemir__port=2222, vesemir__user="deploy"))
    assert found == Target("web1", "10.1.1.1", 2222, "deploy", {}, "chef lab: cloud.local_ipv4")


@pytest.mark.parametrize("missing", [None, MISSING, "", [], {}])
def test_the_first_attribute_that_a_node_has_is_its_address(missing: object) -> None:
    found = target(row(cloud__local_ipv4=missing, vesemir__port=missing, vesemir__user=missing))
    assert (found.address, found.port, found.user, found.source) == ("10.0.0.1", 22, "", "chef lab: ipaddress")


@pytest.mark.parametrize("address", ["10.0.0.1", "2001:db8::1", "web1.example.com", "web_1", "web1"])
def test_addresses_and_names_are_taken_as_they_are(address: str) -> None:
    assert target(row(ipaddress=address)).address == address


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.256",
        "10.0.0",
        "1",
        "web 1",
        "-web1",
        "$(id)",
        "web1\n",
        "web1;id",
        "2001:db8::g",
        10,
        True,
        ["10.0.0.1"],
    ],
)
def test_a_malformed_address_is_an_error_and_not_skipped(address: object) -> None:
    with pytest.raises(AttributeProblemError, match="ipaddress"):
        target(row(ipaddress=address, fqdn="web1.example.com"))


def test_a_node_without_any_address_is_an_error_that_names_what_was_looked_for() -> None:
    with pytest.raises(AttributeProblemError, match=r"none of cloud\.local_ipv4, ipaddress, fqdn"):
        target(row(ipaddress=MISSING))


@pytest.mark.parametrize(("port", "number"), [(2222, 2222), ("2222", 2222), (1, 1), (65535, 65535)])
def test_a_port_is_a_number_or_its_text(port: object, number: int) -> None:
    assert target(row(vesemir__port=port)).port == number


@pytest.mark.parametrize("port", [0, 65536, -1, "ssh", "99999999999", 22.5, True, [22], "²²"])
def test_a_malformed_port_is_an_error(port: object) -> None:
    with pytest.raises(AttributeProblemError, match=r"vesemir\.port: .* is no port"):
        target(row(vesemir__port=port))


@pytest.mark.parametrize("user", ["a b", "-oProxyCommand=x", 0, "x" * 300, ["root"]])
def test_a_malformed_user_is_an_error(user: object) -> None:
    with pytest.raises(AttributeProblemError, match=r"vesemir\.user: .* is no user name"):
        target(row(vesemir__user=user))


@pytest.mark.parametrize("name", ["web 1", "web:1", "-web1", "wéb1", "w" * 254])
def test_a_node_whose_name_is_no_host_name_is_an_error(name: str) -> None:
    with pytest.raises(AttributeProblemError, match="name"):
        target(row(name))


def test_variables_are_a_mapping_in_the_node_and_single_attributes() -> None:
    attributes = row(
        vesemir__variables={"app_root": "/srv/shop", "n": 3, "on": True, "list": [1, "a"], "none": None, "zone": "x"},
        ec2__az="eu-1a",
        gone=MISSING,
    )
    found = target(attributes, variables={"zone": "ec2.az", "rack": "gone"})
    assert found.variables == {
        "app_root": "/srv/shop", "n": "3", "on": "true", "list": '[1, "a"]', "none": "", "zone": "eu-1a"
    }  # fmt: skip


@pytest.mark.parametrize("variables", ["text", ["a"], 3, {"a": "\0"}])
def test_malformed_variables_are_an_error(variables: object) -> None:
    with pytest.raises(AttributeProblemError, match="variable"):
        target(row(vesemir__variables=variables))


def test_a_long_malformed_value_is_cut_in_the_message() -> None:
    with pytest.raises(AttributeProblemError) as caught:
        target(row(ipaddress="!" * 10_000))
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("converged", "idle", "said"),
    [
        (NOW - 3600, 3600, ""),
        (NOW - 3 * 24 * 3600, 3 * 24 * 3600, " (not converged for 3 days)"),
        (MISSING, None, " (never converged)"),
        (True, None, " (never converged)"),
    ],
)
def test_a_node_that_has_not_converged_for_long_is_told(converged: object, idle: float | None, said: str) -> None:
    reading = reader(stale_after_seconds=24 * 3600)
    attributes = row() | {"converged": converged}
    assert reading.idle_seconds(attributes, now=NOW) == idle
    assert reading.is_stale(idle) == bool(said)
    assert reading.target(attributes, idle_seconds=idle).source == f"chef lab: ipaddress{said}"


@pytest.mark.parametrize(
    ("seconds", "said"), [(90 * 60, "90 minutes"), (5 * 3600, "5 hours"), (49 * 3600, "2 days"), (60, "60 seconds")]
)
def test_how_long_is_told_in_words(seconds: float, said: str) -> None:
    found = reader(stale_after_seconds=1).target(row(), idle_seconds=seconds)
    assert found.source.endswith(f"(not converged for {said})")


def test_what_a_node_belongs_to_is_its_own_lists_of_texts() -> None:
    attributes = {"tags": ["a", 3, None], "roles": MISSING, "recipes": "shop", "environment": "production"}
    assert reader().belonging(attributes) == ChefMembership(
        frozenset({"a"}), frozenset(), frozenset({"shop"}), "production"
    )
    nothing = {"tags": {"a": 1}, "roles": None, "environment": 3}
    assert reader().belonging(nothing) == ChefMembership(frozenset(), frozenset(), frozenset(), "")


def test_names_sort_as_people_count() -> None:
    names = ["web10", "web2", "web2a", "db1", "web", "10", "9", "web02"]
    assert sorted(names, key=natural) == ["9", "10", "db1", "web", "web02", "web2", "web2a", "web10"]
