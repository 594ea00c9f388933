"""Which instance may work on a deployment, and how its writes are fenced."""
