"""Hosts over SSH: connections, the supervisor that is sent to them, and what is forwarded through them."""
