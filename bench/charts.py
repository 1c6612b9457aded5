"""Bar charts as SVG, readable on a light page and on a dark one."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from bench.table import Figure

_WIDTH = 720
_LABEL = 250
_ROW = 26
_TOP = 44
_BOTTOM = 18
_PLOT = _WIDTH - _LABEL - 110
_STYLE = """
<style>
  text { font: 13px sans-serif; fill: #24292f }
  .title { font-weight: 600; font-size: 14px }
  .ours { fill: #1a7f37 }
  .other { fill: #8c959f }
  .axis { stroke: #8c959f; stroke-width: 1 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .ours { fill: #3fb950 }
    .other { fill: #6e7681 }
  }
</style>
"""


def bars(title: str, figures: Sequence[Figure]) -> str:
    """One bar a figure, the gateway's in a colour of its own; all have one unit."""
    unit = figures[0].unit
    greatest = max(figure.value for figure in figures)
    height = _TOP + _ROW * len(figures) + _BOTTOM
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}"'
            f' viewBox="0 0 {_WIDTH} {height}" role="img"'
            f' aria-label="{escape(title)} in {escape(unit)}">'
        ),
        _STYLE,
        f'<text class="title" x="8" y="22">{escape(title)}, {escape(unit)}</text>',
    ]
    for number, figure in enumerate(figures):
        parts.append(_bar(figure, _TOP + _ROW * number, greatest))
    foot = _TOP + _ROW * len(figures)
    parts.append(
        f'<line class="axis" x1="{_LABEL}" y1="{_TOP - 6}" x2="{_LABEL}" y2="{foot}"/>'
    )
    return "\n".join([*parts, "</svg>\n"])


def _bar(figure: Figure, y: int, greatest: float) -> str:
    length = max(1.0, figure.value / greatest * _PLOT)
    kind = "ours" if figure.contender.startswith(("gateway", "stockade")) else "other"
    return (
        f'<text x="{_LABEL - 8}" y="{y + 14}" text-anchor="end">'
        f"{escape(figure.contender)}</text>"
        f'<rect class="{kind}" x="{_LABEL}" y="{y}" width="{length:.1f}" height="18"'
        f' rx="2"/><text x="{_LABEL + length + 6:.1f}" y="{y + 14}">'
        f"{figure.value:,.4g}</text>"
    )
