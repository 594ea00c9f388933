"""What ``vesemir check`` says of the client key's mode, also where it is one of systemd's credentials."""

from pathlib import Path

import asyncssh
import pytest

from vesemir.adapters.ssh.keys import check_client_key
from vesemir.domain.failure import VesemirError
from vesemir.settings import SshSettings


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "ssh_key"
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(file)
    file.chmod(0o440)
    return file


def test_a_key_that_others_may_read_is_refused(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(VesemirError, match=f"chmod 600 {key}"):
        check_client_key(SshSettings(client_key=key))


def test_a_credentials_access_list_is_systemds_matter(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It shows among the group's bits (systemd 252: 0440 with a line for the unit's user)."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(key.parent))
    assert check_client_key(SshSettings(client_key=key)).endswith("ssh-ed25519")
