"""asyncssh's errors, and a supervisor's refusals, as failure codes with advice. The one place for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Final

import asyncssh

from vesemir.domain.failure import EpochRefusedError, FailedError, FailureCode, VesemirError
from vesemir.domain.target import Target
from vesemir.domain.visible import words_of_host
from vesemir.settings import SshSettings

_CONSOLE: Final = "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"


class HostFloodError(asyncssh.ProtocolError):
    """More bytes than a host ever has to send, or than it takes of ours."""


def place(target: Target) -> str:
    """``web1 (10.0.0.1:22)`` or ``web1 ([2001:db8::1]:22)``, for messages."""
    address = f"[{target.address}]" if ":" in target.address else target.address
    return f"{target.name} ({address}:{target.port})"


def unreachable(target: Target, reason: str) -> FailedError:
    return FailedError(FailureCode.SSH_UNREACHABLE, f"{place(target)} cannot be reached: {reason}")


def connection_lost(target: Target, reason: str) -> FailedError:
    text = f"the connection to {place(target)} was lost: {reason}"
    return FailedError(FailureCode.SSH_CONNECTION_LOST, text)


def jump_unreachable(jump: Target, reason: str) -> FailedError:
    """In the same words for all targets behind it."""
    text = f"jump host {jump.name} is not available, so nothing behind it was reached: {reason}"
    return FailedError(FailureCode.SSH_JUMP_UNREACHABLE, text)


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


@dataclass(frozen=True, slots=True)
class LoginTry:
    """One that failed: ``user``; ``pinned_as``, the target's name where a line of the known hosts has it; ``pinned``,
    the kinds of keys that are pinned for it; ``advice``, what to look at where the key is refused; ``offered``, the
    kinds that it has; ``banner``, what it said."""

    user: str
    pinned_as: str | None
    pinned: Sequence[str]
    advice: str = ""
    offered: Sequence[str] = ()
    banner: str = ""


def translated(error: Exception, target: Target, tried: LoginTry, settings: SshSettings) -> FailedError:
    """What went wrong between the first packet and the end of the login."""
    if isinstance(error, HostFloodError):
        return violated(target, str(error))
    if isinstance(error, asyncssh.PermissionDenied):
        text = (
            f"{place(target)} refuses the login of {tried.user}: check that {tried.advice}, that the account is not "
            f"locked and its login shell exists, and its sshd's log{_banner(tried)}"
        )
        return FailedError(FailureCode.SSH_AUTH_FAILED, text)
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return host_key_failure(target, tried, settings)
    if isinstance(error, TimeoutError | asyncssh.ConnectionLost):
        text = f"it accepts connections but does not finish a login within {settings.login_timeout_seconds:g} s"
        return unreachable(target, f"{text}; look at its load and its sshd's log")
    words = f"{words_of_host(str(error))}; check that an OpenSSH server answers there{_banner(tried)}"
    return unreachable(target, words)


def _banner(tried: LoginTry) -> str:
    return f"; it shows: {words_of_host(tried.banner)}" if tried.banner.strip() else ""


def host_key_failure(target: Target, tried: LoginTry, settings: SshSettings) -> FailedError:
    """Which of three it is: no line, a line for another kind of key, or another key."""
    name, file = tried.pinned_as or known_hosts_name(target), settings.known_hosts
    look = f"look at it with `ssh-keygen -F {quote(name)} -f {quote(str(file))}`"
    compare = f"compare with the key on the host's console (`{_CONSOLE}`)"
    if not tried.pinned:
        text = (
            f"no line of {file} pins a host key of {place(target)}: add one for {name}, with the key that the host's "
            "console shows in /etc/ssh/ssh_host_ed25519_key.pub, or one for a host CA"
        )
    elif tried.offered:
        offered = words_of_host(", ".join(kinds_of(tried.offered)))
        text = (
            f"{file} pins a key of {place(target)} of the kind {', '.join(tried.pinned)}, and the host has only "
            f"{offered}: {look}, {compare}, and add a line with a key that it has only if the change is explained"
        )
    else:
        text = (
            f"the host key of {place(target)} is not the one pinned in {file}: {look}, {compare}, "
            "and replace the line only if the change is explained"
        )
    return FailedError(FailureCode.SSH_HOST_KEY_MISMATCH, text)


def kinds_of(algorithms: Sequence[str]) -> list[str]:
    """Of keys: RSA has a name for each hash (RFC 8332), and certificates one of their own."""
    kinds = ("ssh-rsa" if name.startswith("rsa-sha2-") else name for name in algorithms if "-cert-" not in name)
    return list(dict.fromkeys(kinds))


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
