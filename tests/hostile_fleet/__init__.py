"""A fleet of which some hosts are hostile, each in another way, and the whole product under measurement."""
