"""Which pinned keys a host may show: those of its name if a line has it, else those of its address."""

import subprocess
from pathlib import Path

import asyncssh
import pytest

from vesemir.adapters.ssh.known_hosts import PinnedKeys
from vesemir.domain.target import Target

SIGNER = asyncssh.generate_private_key("ssh-ed25519")
AUTHORITY = SIGNER.convert_to_public()
ONE, OTHER = (asyncssh.generate_private_key("ssh-ed25519").convert_to_public() for _ in range(2))


def line(names: str, key: asyncssh.SSHKey) -> str:
    return f"{names} {key.export_public_key().decode()}"


def allowed(text: str, target: Target) -> tuple[list[asyncssh.SSHKey], list[asyncssh.SSHKey]]:
    """Keys and authorities, as asyncssh finds them while it connects."""
    port = None if target.port == 22 else target.port
    found = asyncssh.match_known_hosts(PinnedKeys(text).lookup(target), target.address, target.address, port)
    return list(dict.fromkeys(found[0])), list(dict.fromkeys(found[1]))


WEB1 = Target("web1", "10.0.0.1")
ELSEWHERE = Target("web1", "10.0.0.1", 2222)


@pytest.mark.parametrize(
    ("text", "target", "keys"),
    [
        (line("10.0.0.1", ONE), WEB1, [ONE]),
        (line("[10.0.0.1]:2222", ONE), ELSEWHERE, [ONE]),
        (line("10.0.0.1", ONE) + line("web1", OTHER), WEB1, [OTHER]),
        (line("10.0.0.1", ONE) + line("[web1]:2222", OTHER), ELSEWHERE, [OTHER]),
        (line("10.0.0.1", ONE) + line("web1", OTHER), ELSEWHERE, [OTHER]),
        (line("10.0.0.1", ONE) + line("web9", OTHER), WEB1, [ONE]),
        (line("web1,10.0.0.1", ONE), WEB1, [ONE]),
        (line("web9,web1", ONE) + line("web1", OTHER), WEB1, [ONE, OTHER]),
    ],
    ids=["address", "port", "name", "name and port", "name for any port", "another", "both", "two lines"],
)
def test_a_line_with_the_name_decides_alone(text: str, target: Target, keys: list[asyncssh.SSHKey]) -> None:
    assert allowed(text, target) == (keys, [])


@pytest.mark.parametrize("names", ["*", "web*", "web?", "10.0.0.1,*"])
def test_a_pattern_names_no_single_host(names: str) -> None:
    """It goes on meaning what it meant, beside the lines for addresses."""
    text = line("10.0.0.1", ONE) + "@cert-authority " + line(names, AUTHORITY)
    assert allowed(text, WEB1)[0] == [ONE]
    assert not PinnedKeys(text).has_name(WEB1)


def test_an_authority_and_a_revoked_key_by_name() -> None:
    text = line("10.0.0.1", ONE) + "@cert-authority " + line("web1", AUTHORITY)
    assert allowed(text, WEB1) == ([], [AUTHORITY])
    text = line("10.0.0.1", ONE) + "@revoked " + line("web1", OTHER)
    assert allowed(text, WEB1)[0] == [ONE]
    assert not PinnedKeys(text).has_name(WEB1)


def test_a_key_that_is_revoked_for_the_address_is_so_for_the_name() -> None:
    lookup = PinnedKeys(line("web1", ONE) + "@revoked " + line("10.0.0.1", ONE)).lookup(WEB1)
    assert set(asyncssh.match_known_hosts(lookup, "10.0.0.1", "10.0.0.1", None)[2]) == {ONE}


def test_a_name_may_be_hashed(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(line("web1", OTHER))
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(file)], check=True, capture_output=True)
    assert "web1" not in file.read_text()
    assert allowed(line("10.0.0.1", ONE) + file.read_text(), WEB1) == ([OTHER], [])


def certified(text: str, target: Target) -> str | None:
    """The name that a certificate of ``AUTHORITY`` for ``web1`` must have; None: the address."""
    certificate = SIGNER.generate_host_certificate(ONE, "web1", principals=["web1"])
    assert AUTHORITY in allowed(text, target)[1]
    return PinnedKeys(text).certified(target).alias_in(certificate)


@pytest.mark.parametrize("address", ["10.0.0.1", "2001:db8::1", "web1.internal"])
def test_a_certificate_has_the_name_where_the_pattern_matches_it(address: str) -> None:
    """Also where the address is a name, which was connected to and is no more than an address here."""
    target = Target("web1", address)
    assert certified("@cert-authority " + line("web*", AUTHORITY), target) == "web1"
    assert certified("@cert-authority " + line("*", AUTHORITY), target) == "web1"
    assert certified("@cert-authority " + line(f"{address[:4]}*,!web1", AUTHORITY), Target("db1", address)) is None
