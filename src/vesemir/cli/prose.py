"""Markdown as far as the runbook uses it, for a terminal: headings, paragraphs, lists, commands in their own lines.

Commands are never broken or decorated: they are there to be copied.
"""

import re
from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from vesemir.cli.output import UNBROKEN
from vesemir.domain.visible import visible

_BLOCK = re.compile(r"^```[^\n]*\n(?P<code>.*?)^```$|^(?P<rest>(?:(?!^```).)+)", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(
    r"`(?P<code>[^`]+)`|\*\*(?P<bold>.+?)\*\*|\*(?P<weak>.+?)\*|\[(?P<link>[^\]]+)\]\([^)]*\)", re.DOTALL
)
_STYLES = {"code": "cyan", "bold": "bold", "weak": "italic", "link": ""}
_ITEM = re.compile(r"^- ", re.MULTILINE)


def lines_of(markdown: str, *, width: int) -> Iterator[Text]:
    """Its lines, none but commands longer than ``width``."""
    measure = Console(width=width)
    for number, paragraph in enumerate(_paragraphs(markdown)):
        if number:
            yield Text()
        if paragraph.startswith("```"):
            yield from (Text(f"    {line}", style="cyan") for line in paragraph[3:].splitlines())
        elif paragraph.startswith("#"):
            yield Text(paragraph.lstrip("# "), style="bold underline")
        elif paragraph.startswith("- "):
            for item in _ITEM.split(paragraph)[1:]:
                for first, line in enumerate(_wrapped(_inline(item), measure, width - 2)):
                    yield Text.assemble("- " if not first else "  ", line)
        else:
            yield from _wrapped(_inline(paragraph), measure, width)


def _wrapped(line: Text, measure: Console, width: int) -> Iterator[Text]:
    """Between words; a command is one word."""
    for part in line.wrap(measure, width):
        part.plain = part.plain.replace(UNBROKEN, " ")
        yield part


def _paragraphs(markdown: str) -> Iterator[str]:
    for block in _BLOCK.finditer(visible(markdown.strip())):
        if block["code"] is not None:
            yield f"```{block['code']}"
        else:
            yield from (part for part in re.split(r"\n\s*\n", block["rest"].strip()) if part)


def _inline(paragraph: str) -> Text:
    """One line of text with its emphasis; new lines of the source are spaces."""
    made, end = Text(), 0
    source = " ".join(paragraph.split())
    for found in _INLINE.finditer(source):
        made.append(source[end : found.start()])
        kind = found.lastgroup or ""
        shown = found[kind].replace("`", "")
        made.append(shown.replace(" ", UNBROKEN) if kind == "code" else shown, style=_STYLES[kind])
        end = found.end()
    made.append(source[end:])
    return made
