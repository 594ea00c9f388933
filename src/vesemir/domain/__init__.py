"""The rules, pure: no await, no clock, no logger, no driver."""
