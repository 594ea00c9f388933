"""asyncssh's errors, and a supervisor's refusals, as failure codes with advice. The one place for it."""

from shlex import quote

import asyncssh

from vesemir.domain.failure import EpochRefusedError, FailedError, FailureCode, VesemirError
from vesemir.domain.target import Target
from vesemir.domain.visible import words_of_host
from vesemir.settings import SshSettings


class HostFloodError(asyncssh.ProtocolError):
    """More bytes than a host ever has to send, or than it takes of ours."""


def place(target: Target) -> str:
    """``web1 (10.0.0.1:22)``, for messages."""
    return f"{target.name} ({target.address}:{target.port})"


def unreachable(target: Target, reason: str) -> FailedError:
    return FailedError(FailureCode.SSH_UNREACHABLE, f"{place(target)} cannot be reached: {reason}")


def connection_lost(target: Target, reason: str) -> FailedError:
    text = f"the connection to {place(target)} was lost: {reason}"
    return FailedError(FailureCode.SSH_CONNECTION_LOST, text)


def violated(target: Target, what: str) -> FailedError:
    """It sent what no honest host sends, or more of it than was asked for: not tried again, whatever it sends next."""
    text = (
        f"{place(target)} broke the rules of its connection, which was closed: {what}; "
        "find out what answers there before anything is deployed to it again"
    )
    return FailedError(FailureCode.SSH_PROTOCOL_VIOLATED, text)


def unsupported(target: Target, reason: str) -> FailedError:
    return FailedError(FailureCode.TARGET_UNSUPPORTED, f"{place(target)} cannot be worked on: {reason}")


def known_hosts_name(target: Target) -> str:
    """As it stands in a known_hosts file."""
    return target.address if target.port == asyncssh.DEFAULT_PORT else f"[{target.address}]:{target.port}"


def translated(
    error: Exception, target: Target, *, user: str, settings: SshSettings, pinned_as: str | None = None
) -> FailedError:
    """What went wrong between the first packet and the end of the login. ``pinned_as`` is the target's name where a
    line of the known hosts has it."""
    if isinstance(error, HostFloodError):
        return violated(target, str(error))
    if isinstance(error, asyncssh.PermissionDenied):
        text = (
            f"{place(target)} refuses the login of {user}: check that the public half of {settings.client_key} "
            f"is in that user's authorized_keys there, and its sshd's log"
        )
        return FailedError(FailureCode.SSH_AUTH_FAILED, text)
    no_common_key = isinstance(error, asyncssh.KeyExchangeFailed) and "host key" in str(error).lower()
    if isinstance(error, asyncssh.HostKeyNotVerifiable) or no_common_key:
        name, pinned = pinned_as or known_hosts_name(target), settings.known_hosts
        text = (
            f"the host key of {place(target)} is not the one pinned in {pinned}: look at it with "
            f"`ssh-keygen -F {quote(name)} -f {quote(str(pinned))}`, compare with the key on the host's console "
            "(`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`), and replace the line only if the change is explained"
        )
        return FailedError(FailureCode.SSH_HOST_KEY_MISMATCH, text)
    if isinstance(error, TimeoutError | asyncssh.ConnectionLost):
        text = f"it accepts connections but does not finish a login within {settings.login_timeout_seconds:g} s"
        return unreachable(target, f"{text}; look at its load and its sshd's log")
    return unreachable(target, f"{words_of_host(str(error))}; check that an OpenSSH server answers there")


def refused(code: bytes, text: str, target: Target) -> VesemirError:
    """A supervisor's REFUSED frame."""
    words = words_of_host(text)
    if code == b"epoch":
        return EpochRefusedError(f"{place(target)}: {words}")
    if code == b"busy":
        return FailedError(FailureCode.TARGET_BUSY, f"{place(target)}: {words}; wait for it, or cancel that deployment")
    if code == b"state":
        return unsupported(target, f"{words}; check free space and rights of the state folder on the host")
    if code == b"lost":
        return connection_lost(target, words)
    return violated(target, f"its supervisor and this instance differ: {words}")
