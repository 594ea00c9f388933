"""The operator's policy from its TOML file, read again when it changes."""

from vesemir.adapters.policy.file import PolicyFile, PolicyFileError, read_policy

__all__ = ["PolicyFile", "PolicyFileError", "read_policy"]
