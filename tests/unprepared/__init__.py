"""What fails before a target is drained, and what others broke, on real servers under load."""
