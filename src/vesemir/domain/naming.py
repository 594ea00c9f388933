"""Names that other programs rely on: routing keys (contract section 2)."""


def routing_key(application: str | None, environment: str | None, event: str) -> str:
    """``APPLICATION.ENVIRONMENT.EVENT``; what could not be read of a refused message is ``unknown``."""
    return f"{application or 'unknown'}.{environment or 'unknown'}.{event}"
