"""One host from start to end."""
