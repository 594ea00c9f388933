"""What an instance does besides: its health, the clean-up, servers that were left drained."""
