"""Limits in the units that people think in."""

_UNITS = ((86400, "day"), (3600, "h"), (60, "min"))


def limit_text(seconds: float) -> str:
    """``24 h``, ``7 days``, ``5 min``, ``90 s``: the largest unit that says it exactly, a day from two on."""
    for length, unit in _UNITS:
        number, rest = divmod(seconds, length)
        if rest or number < (2 if unit == "day" else 1):
            continue
        return f"{number:g} {unit}s" if unit == "day" else f"{number:g} {unit}"
    return f"{seconds:g} s"
