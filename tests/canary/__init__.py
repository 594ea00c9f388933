"""Canaries by the hundred, good and bad, through the engine's own analysis: ``python -m tests.canary``."""
