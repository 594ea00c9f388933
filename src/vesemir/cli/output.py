"""How things are shown: tables on stdout, everything about progress and trouble on stderr.

Names, messages and output come from elsewhere. They are never read as rich's markup, and what is hidden in them is
made visible (``domain.visible``), so that no host can move the cursor of who looks at it.
"""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vesemir.domain.visible import escaped_json, visible, visible_line

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

Json = Mapping[str, Any]

_UNLIMITED = 1000
"""Columns where nobody's terminal limits them: a table in a pipe is not cut."""

UNBROKEN = "\ue000"
"""Stands for a space within a command (Unicode's private use: no text of ours or of a host's means anything by it)."""
_COMMAND = re.compile(r"`[^`\n]+`")

_MINUTE = 60
_HOUR = 3600

STYLES: Mapping[str, str] = {
    "succeeded": "green",
    "rolled_back": "yellow",
    "failed": "red",
    "unreachable": "red",
    "timed_out": "red",
    "unknown": "red",
    "cancelled": "yellow",
    "skipped": "dim",
    "pending": "dim",
    "running": "cyan",
    "paused": "yellow",
    "rolling_back": "yellow",
    "ok": "green",
    "warn": "yellow",
    "FAIL": "red",
}
"""By status. Colour never says what the word does not."""


def console(*, stderr: bool = False) -> "Console":
    """A console as the terminal (or file) is now; NO_COLOR is rich's to honour."""
    from rich.console import Console  # noqa: PLC0415 -- ``--help`` and ``--version`` do without

    made = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    return made if made.is_terminal else Console(
        stderr=stderr, highlight=False, markup=False, emoji=False, width=_UNLIMITED
    )  # fmt: skip


def say(text: str) -> None:
    """One line on stderr, from the program itself."""
    print(f"vesemir: {visible(text)}", file=sys.stderr, flush=True)


def print_json(value: object, *, one_line: bool = False) -> None:
    """On ``one_line`` where a command follows: a reader takes a line for a document."""
    print(json_text(value, indent=None if one_line else 2), flush=True)


def _cell(value: object) -> "Text":
    """On one line: another would look like a row of its own."""
    return text(visible_line(value) if isinstance(value, str) else value)


def json_text(value: object, *, indent: int | None = None) -> str:
    """JSON for programs, which people look at too: what would be hidden on a terminal is escaped, its value stays. So
    is what the output's encoding does not have."""
    return escaped_json(json.dumps(value, ensure_ascii=not _has_all_of_unicode(), indent=indent))


def _has_all_of_unicode() -> bool:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return encoding.lower().replace("-", "").startswith("utf")


def show(*parts: "RenderableType") -> None:
    """On stdout."""
    from rich.text import Text  # noqa: PLC0415 -- as above

    out = console()
    with out.capture() as captured:
        for part in parts:
            out.print(text(part) if isinstance(part, str) else part, soft_wrap=isinstance(part, str | Text))
    printed = captured.get().replace(UNBROKEN, " ")
    if not out.is_terminal:
        # rich fills the last column up with spaces.
        printed = "".join(f"{line.rstrip()}\n" for line in printed.splitlines())
    sys.stdout.write(printed)
    sys.stdout.flush()


def text(value: object, style: str = "") -> "Text":
    """A cell or a line, whatever is in it. None is a dash."""
    from rich.text import Text  # noqa: PLC0415 -- as above

    return Text("-" if value is None else visible(str(value)), style=style)


def paragraph(*parts: "Text") -> "RenderableType":
    """Words that a terminal breaks between, not within; in a pipe they stay one line. A command is one word."""
    from rich.padding import Padding  # noqa: PLC0415 -- as above
    from rich.text import Text  # noqa: PLC0415 -- as above

    whole = Text.assemble(*parts)
    whole.plain = unbroken(whole.plain)
    return Padding(whole, 0, expand=False)


def unbroken(line: str) -> str:
    """With commands (between backticks) that no terminal breaks; ``show`` puts their spaces back."""
    return _COMMAND.sub(lambda found: found[0].replace(" ", UNBROKEN), line)


def status_text(status: str) -> "Text":
    return text(status.replace("_", " "), STYLES.get(status, ""))


def table(*columns: str, rows: Iterable[Sequence[object]] = ()) -> "Table":
    """Without lines; cells are plain values or rich's own texts."""
    from rich.table import Table  # noqa: PLC0415 -- as above
    from rich.text import Text  # noqa: PLC0415 -- as above

    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else _cell(cell) for cell in row))
    return made


def seconds_text(seconds: float | None) -> str:
    """``35 ms``, ``0.4 s``, ``12 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds is None:
        return "-"
    if 0 < seconds < 0.1:  # noqa: PLR2004 - a tenth of a second can be said in tenths
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:  # noqa: PLR2004 - below that the tenth matters
        return f"{seconds:.1f} s"
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    whole = round(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02d} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02d} min"


def count(number: int, one: str, many: str | None = None) -> str:
    """``1 target``, ``3 targets``."""
    return f"{number} {one if number == 1 else many or one + 's'}"
