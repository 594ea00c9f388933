"""Every credential rotated while deployments run: ``python -m tests.rotation``."""
