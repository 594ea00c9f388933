"""Stacks as a picture: a box is a function, as wide as its share of the samples, on top of its caller.

py-spy record --format raw --function --gil --rate 200 --pid PID --output STACKS
python -m benchmarks.flame STACKS SVG TITLE

A pointer held on a box shows its name and share.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from zlib import crc32

from benchmarks.svg import svg

WIDTH, ROW, LETTER = 1200, 16, 6.8
TRUNK = 0.95
LEAST = 0.002
"""Share of the samples below which a box is left out."""
COLOURS = ("#f5b971", "#f2a65a", "#eec170", "#f58549", "#f6ce8e", "#e8985e")


@dataclass(slots=True)
class Node:
    """A function as called from one stack; ``samples`` includes what it called."""

    samples: int = 0
    calls: dict[str, "Node"] = field(default_factory=dict)


def tree_of(stacks: str) -> Node:
    """Of lines such as ``main;run;work 12``."""
    root = Node()
    for line in stacks.splitlines():
        path, _, count = line.rpartition(" ")
        node = root
        node.samples += int(count)
        for name in path.split(";"):
            node = node.calls.setdefault(name.partition(" (")[0], Node())
            node.samples += int(count)
    return root


def without_trunk(root: Node) -> Node:
    """Without the calls that everything is below of: the way from the program's start to its event loop."""
    while root.calls:
        largest = max(root.calls.values(), key=lambda call: call.samples)
        if largest.samples < root.samples * TRUNK:
            break
        root = largest
    return root


def boxes(node: Node, total: int, left: float = 0.0, depth: int = 0) -> Iterator[tuple[str, float, float, int]]:
    """Name, left edge and width as shares, and how deep it is."""
    for name, call in sorted(node.calls.items()):
        share = call.samples / total
        if share >= LEAST:
            yield name, left, share, depth
            yield from boxes(call, total, left, depth + 1)
        left += share


def draw(stacks: str, title: str) -> str:
    """The SVG's text."""
    root = without_trunk(tree_of(stacks))
    drawn = list(boxes(root, root.samples))
    height = (max((depth for *_, depth in drawn), default=0) + 1) * ROW + 30
    parts = [f'<text x="8" y="18" class="title">{escape(title)}; {root.samples} samples</text>']
    for name, left, share, depth in drawn:
        x, y, width = left * WIDTH, height - (depth + 1) * ROW, share * WIDTH
        shown = name if len(name) * LETTER < width - 4 else name[: max(0, int((width - 10) / LETTER))]
        colour = COLOURS[crc32(name.encode()) % len(COLOURS)]
        parts.append(
            f'<g><title>{escape(name)}: {share:.1%}</title><rect x="{x:.1f}" y="{y}" width="{width:.1f}" '
            f'height="{ROW - 1}" fill="{colour}"/><text x="{x + 3:.1f}" y="{y + 11}">{escape(shown)}</text></g>'
        )
    style = "text{font:11px monospace;fill:#24292f}.title{font:bold 13px sans-serif}"
    return svg(WIDTH, height, style=style, parts=parts)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    Path(sys.argv[2]).write_text(draw(Path(sys.argv[1]).read_text(), sys.argv[3]))
