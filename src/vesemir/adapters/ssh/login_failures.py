"""Why a login did not come about, by what the host said on the way: its greeting, its keys, its banner."""

from dataclasses import replace

import asyncssh

from vesemir.adapters.ssh.host_connection import HostConnection
from vesemir.adapters.ssh.trouble import LoginTry, host_key_failure, translated
from vesemir.domain.failure import VesemirError
from vesemir.domain.target import Target
from vesemir.settings import SshSettings


class HungUpError(VesemirError):
    """A host closed the connection before the login; the message is what it said, if anything."""


def login_failure(
    error: Exception, target: Target, tried: LoginTry, connection: HostConnection, *, settings: SshSettings
) -> VesemirError:
    """A ``FailedError``, or ``HungUpError`` where another try may do.

    sshd hangs up without a word when it has no key of a kind that is pinned; that is seen in what it offered.
    """
    tried = replace(tried, banner=connection.banner)
    if not _hung_up(error):
        # Bytes that are no SSH end in any error that a parser can have.
        return translated(error, target, tried, settings)
    offered = connection.offered_host_keys()
    if offered and not set(offered) & set(connection.asked_host_keys()):
        return host_key_failure(target, replace(tried, offered=offered), settings)
    return HungUpError(connection.greeting_words() or connection.banner)


def _hung_up(error: Exception) -> bool:
    if isinstance(error, asyncssh.ConnectionLost):
        return "timeout" not in str(error).lower()
    return isinstance(error, ConnectionResetError | BrokenPipeError)
