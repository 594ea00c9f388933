"""Hosts over SSH: connections, the supervisor that is sent to them, and what is forwarded through them."""

from vesemir.adapters.ssh.hosts import SshHosts

__all__ = ["SshHosts"]
