"""What the bench's pictures have in common."""

from collections.abc import Iterable


def svg(width: int, height: int, *, style: str, parts: Iterable[str]) -> str:
    """A whole file, on white."""
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    background = f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style}</style>{background}{"".join(parts)}</svg>\n'
