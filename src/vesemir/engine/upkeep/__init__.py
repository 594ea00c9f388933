"""What an instance does besides: its health, its row among the instances, the clean-up, servers left drained."""
