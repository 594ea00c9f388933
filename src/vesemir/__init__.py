"""Vesemir brings a new release to a company's virtual machines without anybody watching."""

__version__: str


def __getattr__(name: str) -> str:
    """``__version__`` when it is asked for: looking up metadata costs a command a tenth of its start."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 -- as above

        return version("vesemir")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
