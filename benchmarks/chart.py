"""The comparisons as one SVG: a bar per program, grouped by goal and size, log scale where peers are far away."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from benchmarks.model import GoalResult, Line
from benchmarks.svg import svg

WIDTH, BAR, GAP, LEFT, RIGHT = 860, 18, 26, 190, 90
OURS = ("vesemir", "our SSH layer")
COLUMNS = ("wall s", "CPU s")


@dataclass(frozen=True, slots=True)
class Panel:
    """One column of one goal at one size."""

    title: str
    bars: Sequence[tuple[str, float]]


def panels(results: Sequence[GoalResult]) -> Iterator[Panel]:
    for result in results:
        for size in dict.fromkeys(line.name.rpartition(", ")[2] for line in result.lines if ", " in line.name):
            lines = [
                line for line in result.lines if line.name.endswith(f", {size}") and not line.name.startswith("login")
            ]
            for column in COLUMNS:
                bars = _bars(lines, column)
                if len(bars) > 1:
                    yield Panel(f"goal {result.number}, {size} hosts: {column}, median", bars)


def _bars(lines: Sequence[Line], column: str) -> list[tuple[str, float]]:
    return [(line.name.rpartition(", ")[0], line.figures[column].median) for line in lines if column in line.figures]


def draw(results: Sequence[GoalResult]) -> str:
    """The SVG's text."""
    parts, top = [], 20
    for panel in panels(results):
        parts.append(f'<text x="10" y="{top}" class="title">{escape(panel.title)}</text>')
        top += 12
        most = max(value for _, value in panel.bars)
        for name, value in panel.bars:
            length = max(1.0, value / most * (WIDTH - LEFT - RIGHT))
            kind = "ours" if name.startswith(OURS) else "peer"
            parts.append(f'<text x="{LEFT - 8}" y="{top + 13}" text-anchor="end">{escape(name)}</text>')
            parts.append(f'<rect x="{LEFT}" y="{top}" width="{length:.1f}" height="{BAR - 4}" class="{kind}"/>')
            parts.append(f'<text x="{LEFT + length + 6:.1f}" y="{top + 12}">{value:.2f}</text>')
            top += BAR
        top += GAP
    style = (
        "text{font:12px sans-serif;fill:#24292f}.title{font-weight:bold;font-size:13px}"
        ".ours{fill:#1a7f37}.peer{fill:#8c959f}"
    )
    return svg(WIDTH, top, style=style, parts=parts)
