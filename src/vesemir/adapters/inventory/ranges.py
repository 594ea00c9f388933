"""Host ranges, with Ansible's meaning: ``web[1:5]``, ``db[01:10:2]``, ``box[a:c]``; both ends belong to it."""

import re
from itertools import product
from string import ascii_letters

from vesemir.domain.selector import HOST_NAME

MAX_HOSTS = 100_000
"""What one pattern may stand for; more is a slip of the keyboard."""

_RANGE = re.compile(r"\[([^\[\]]*)\]")


def expand(pattern: str) -> list[str]:
    """The host names, in the order of the range. Raises ``ValueError`` for anything that is not such a pattern."""
    pieces = _RANGE.split(pattern)
    choices = [[piece] if index % 2 == 0 else _values(piece) for index, piece in enumerate(pieces)]
    count = 1
    for choice in choices:
        count *= len(choice)
    if count > MAX_HOSTS:
        raise ValueError(f"{pattern} stands for {count} hosts; at most {MAX_HOSTS} are allowed")
    names = ["".join(parts) for parts in product(*choices)]
    for name in names:
        if HOST_NAME.fullmatch(name) is None:
            raise ValueError(
                f"{name!r} is no host name: 1-253 of A-Za-z0-9._-, starting with a letter or digit "
                "(patterns such as web* or !web1 are not supported, ranges such as web[1:5] are)"
            )
    return names


def _values(text: str) -> list[str]:
    parts = text.split(":")
    if len(parts) not in {2, 3}:
        raise ValueError(f"range [{text}] must be [start:end] or [start:end:step]")
    start, end = parts[0] or "0", parts[1]
    step = parts[2] if len(parts) > 2 else "1"  # noqa: PLR2004 - start, end, step
    if not _is_number(step) or int(step) == 0:
        raise ValueError(f"the step of range [{text}] must be a number from 1")
    if _is_number(start) and _is_number(end):
        return _numbers(text, start, end, int(step))
    letters = [start, end]
    if all(len(letter) == 1 and letter in ascii_letters for letter in letters):
        first, last = (ascii_letters.index(letter) for letter in letters)
        values = list(ascii_letters[first : last + 1 : int(step)])
        if values:
            return values
        raise ValueError(f"the end of range [{text}] is before its start")
    raise ValueError(f"range [{text}] must go from a number to a number or from a letter to a letter")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 18  # noqa: PLR2004 - a bound, far above any host number


def _numbers(text: str, start: str, end: str, step: int) -> list[str]:
    if len(start) > 1 and start[0] == "0" and len(start) != len(end):
        raise ValueError(f"with leading zeros, both ends of range [{text}] must have as many digits")
    width = len(start) if start[0] == "0" else 0
    numbers = range(int(start), int(end) + 1, step)
    if not numbers:
        raise ValueError(f"the end of range [{text}] is before its start")
    if len(numbers) > MAX_HOSTS:
        raise ValueError(f"range [{text}] stands for {len(numbers)} hosts; at most {MAX_HOSTS} are allowed")
    return [str(number).zfill(width) for number in numbers]
