"""The record in PostgreSQL."""

from vesemir.adapters.postgres.migrations import MigrationError, migrate

__all__ = ["MigrationError", "migrate"]
