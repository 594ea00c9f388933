"""One deployment from claim to result."""
