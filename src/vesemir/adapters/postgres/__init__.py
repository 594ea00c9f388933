"""The record in PostgreSQL."""

from vesemir.adapters.postgres.migrations import MigrationError, migrate
from vesemir.adapters.postgres.record_reader import Reader
from vesemir.adapters.postgres.store import PostgresStore

__all__ = ["MigrationError", "PostgresStore", "Reader", "migrate"]
