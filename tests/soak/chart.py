"""The samples of a soak as small line charts in one drawing."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final
from xml.sax.saxutils import escape

from tests.soak.samples import Sample

#: Panels: a title, and what is drawn in it.
PANELS: Final = (
    ("memory of the gateway, MiB", ("gateway rss", "gateway pss")),
    ("memory of the agent, MiB", ("agent rss", "agent pss")),
    ("sockets", ("gateway sockets", "agent sockets")),
    ("pipes", ("gateway pipes", "agent pipes")),
    ("flows", ("flows",)),
    ("devboxes and interfaces", ("devboxes", "interfaces")),
    ("elements of nftables", ("elements", "rules")),
    ("namespaces, mounts, processes", ("namespaces", "mounts", "processes")),
)
_COLOURS: Final = ("#1f6feb", "#d1242f", "#1a7f37")
_WIDTH, _HEIGHT, _MARGIN, _COLUMNS = 420, 170, 44, 2


def draw(samples: Sequence[Sample], title: str) -> str:
    """An SVG document; a grey line marks each moment a gateway was killed."""
    rows = -(-len(PANELS) // _COLUMNS)
    width, height = _WIDTH * _COLUMNS, _HEIGHT * rows + 34
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'font-family="sans-serif" font-size="11">'
        ),
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="22" font-size="14">{escape(title)}</text>',
    ]
    for number, (name, keys) in enumerate(PANELS):
        row, column = divmod(number, _COLUMNS)
        x, y = column * _WIDTH, row * _HEIGHT + 34
        parts.append(f'<g transform="translate({x},{y})">')
        parts += _panel(samples, name, keys)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _panel(samples: Sequence[Sample], name: str, keys: Sequence[str]) -> list[str]:
    end = samples[-1].seconds or 1.0
    top = max(1.0, *(s.values[key] for s in samples for key in keys)) * 1.1
    wide, high = _WIDTH - _MARGIN - 12, _HEIGHT - 50

    def at(seconds: float, value: float) -> str:
        return (
            f"{_MARGIN + seconds / end * wide:.1f},{24 + high - value / top * high:.1f}"
        )

    parts = [f'<text x="{_MARGIN}" y="14" font-weight="bold">{escape(name)}</text>']
    for share in (0.0, 0.5, 1.0):
        y = 24 + high - share * high
        parts.append(
            f'<line x1="{_MARGIN}" x2="{_MARGIN + wide}" y1="{y:.1f}" y2="{y:.1f}" '
            f'stroke="#d0d7de"/><text x="{_MARGIN - 5}" y="{y + 4:.1f}" '
            f'text-anchor="end" fill="#57606a">{share * top:.0f}</text>'
        )
    for earlier, later in itertools.pairwise(samples):
        if later.life != earlier.life:
            x = at(later.seconds, 0).partition(",")[0]
            parts.append(
                f'<line x1="{x}" x2="{x}" y1="24" y2="{24 + high}" stroke="#afb8c1" '
                'stroke-dasharray="2 3"/>'
            )
    for number, key in enumerate(keys):
        colour = _COLOURS[number % len(_COLOURS)]
        points = " ".join(at(s.seconds, s.values[key]) for s in samples)
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}"/>'
            f'<text x="{_MARGIN + 110 * number}" y="{_HEIGHT - 8}" '
            f'fill="{colour}">{escape(key)}</text>'
        )
    minutes = f"{end / 60:.0f} min" if end >= 120 else f"{end:.0f} s"
    parts.append(
        f'<text x="{_MARGIN + wide}" y="{_HEIGHT - 8}" text-anchor="end" '
        f'fill="#57606a">{minutes}</text>'
    )
    return parts
