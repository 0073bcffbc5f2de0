"""Curves: a figure over the sizes of the store, drawn as SVG.

One picture a figure, with a line for each way in which it was measured. Sizes stand at even distances, as powers of ten
do on a logarithmic scale; the other scale begins at 0. The picture has a ground of its own, and takes the reader's
choice of dark or light, so that it is readable on any page that shows it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from html import escape
from typing import Final

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 72, 616, 74, 252
LINES: Final = 4
"""Steps of the scale, at most one more."""

Points = Mapping[int, float]
"""What was measured at each size, the smallest first."""

_STYLE: Final = """\
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.ground { fill: #ffffff; stroke: #d0d7de }
.grid { stroke: #d0d7de }
.title { font-size: 15px; font-weight: 600 }
.line { fill: none; stroke-width: 2 }
.first { stroke: #0969da } .second { stroke: #bc4c00; stroke-dasharray: 6 4 }
.first-dot { fill: #0969da } .second-dot { fill: #bc4c00 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .ground { fill: #0d1117; stroke: #30363d }
  .grid { stroke: #30363d }
  .first { stroke: #58a6ff } .second { stroke: #f0883e }
  .first-dot { fill: #58a6ff } .second-dot { fill: #f0883e }
}"""


def curves(title: str, unit: str, lines: Mapping[str, Points]) -> str:
    """An SVG document; `lines` are one or two, by what each is, over the same sizes."""
    sizes = list(next(iter(lines.values())))
    step = _step(max(value for points in lines.values() for value in points.values()))
    top = step * math.ceil(max(value for points in lines.values() for value in points.values()) / step)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img">',
        f"<title>{escape(title)}, {escape(unit)}</title>",
        f"<style>\n{_STYLE}\n</style>",
        f'<rect class="ground" x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="6"/>',
        f'<text class="title" x="20" y="28">{escape(title)}</text>',
        f'<text x="{RIGHT}" y="28" text-anchor="end">{escape(unit)}</text>',
        *_scale(top, step),
        *(
            f'<text x="{_across(at, len(sizes)):.1f}" y="{BOTTOM + 20}" text-anchor="middle">{size:,}</text>'
            for at, size in enumerate(sizes)
        ),
        f'<text x="{(LEFT + RIGHT) / 2:.0f}" y="{HEIGHT - 12}" text-anchor="middle">tenants</text>',
    ]
    for style, (name, points), beside in zip(("first", "second"), lines.items(), (-10, 20), strict=False):
        parts += _line(style, name, points, top=top, beside=beside)
    return "\n".join([*parts, "</svg>", ""])


def _line(style: str, name: str, points: Points, *, top: float, beside: int) -> Iterator[str]:
    """A line, its points with their values, and its name in the legend."""
    at = [(_across(number, len(points)), _up(value, top)) for number, value in enumerate(points.values())]
    yield f'<polyline class="line {style}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in at)}"/>'
    for (x, y), value in zip(at, points.values(), strict=True):
        yield f'<circle class="{style}-dot" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
        yield f'<text x="{x:.1f}" y="{y + beside:.1f}" text-anchor="middle">{value:,.0f}</text>'
    left = 20 if style == "first" else WIDTH / 2
    yield f'<line class="line {style}" x1="{left:g}" y1="48" x2="{left + 28:g}" y2="48"/>'
    yield f'<text x="{left + 36:g}" y="52">{escape(name)}</text>'


def _scale(top: float, step: float) -> Iterator[str]:
    for number in range(round(top / step) + 1):
        y = _up(number * step, top)
        yield f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{RIGHT}" y2="{y:.1f}"/>'
        yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number * step:,.0f}</text>'


def _step(most: float) -> float:
    """1, 2 or 5 times a power of ten."""
    least = max(most, 1.0) / LINES
    power = 10.0 ** math.floor(math.log10(least))
    return float(next(power * times for times in (1, 2, 5, 10) if power * times >= least))


def _across(number: int, count: int) -> float:
    margin = (RIGHT - LEFT) / 8
    return LEFT + margin + (RIGHT - LEFT - 2 * margin) * number / max(1, count - 1)


def _up(value: float, top: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * value / top
