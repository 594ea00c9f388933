"""Hosts behind jump hosts by the hundred: ``python -m tests.bastions``."""
