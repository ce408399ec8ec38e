"""Numbers as SVG, readable in light and dark, without a library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

__all__ = ["bars", "lines"]

STYLE = """<style>
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .soft { fill: #6e7781 } .rule { stroke: #d0d7de }
  .ours { fill: #0b7285; stroke: #0b7285 } .c1 { fill: #e8590c; stroke: #e8590c } .c2 { fill: #5f3dc4; stroke: #5f3dc4 }
  .c3 { fill: #2b8a3e; stroke: #2b8a3e } .others { fill: #adb5bd; stroke: #adb5bd }
  .line { fill: none; stroke-width: 2 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .soft { fill: #8d96a0 } .rule { stroke: #3d444d }
    .ours { fill: #3bc9db; stroke: #3bc9db } .others { fill: #6c757d; stroke: #6c757d }
    .c1 { fill: #ffa94d; stroke: #ffa94d } .c2 { fill: #b197fc; stroke: #b197fc } .c3 { fill: #69db7c; stroke: #69db7c }
  }
</style>"""
WIDTH, LEFT, RIGHT, ROW = 720, 150, 90, 28
COLOURS = ("ours", "c1", "c2", "c3")


def bars(title: str, unit: str, values: Mapping[str, float]) -> str:
    """A bar for each client, the longest as wide as the picture."""
    most = max(values.values())
    parts = [f'<text x="0" y="18" font-weight="600">{escape(title)}</text>']
    for number, (name, value) in enumerate(values.items()):
        y = 36 + number * ROW
        width = max(1.0, (WIDTH - LEFT - RIGHT) * value / most)
        kind = "ours" if name.startswith("millstream") else "others"
        parts += [
            f'<text x="{LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>',
            f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{width:.1f}" height="18" rx="3"/>',
            f'<text class="soft" x="{LEFT + width + 6:.1f}" y="{y + 14}">{short(value)} {escape(unit)}</text>',
        ]
    return _svg(36 + len(values) * ROW, title, parts)


def lines(title: str, axis: str, unit: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """A line for each client; both axes grow by factors."""
    points = [point for line in series.values() for point in line]
    xs, ys = sorted({x for x, _ in points}), [y for _, y in points]
    low, high = math.log10(min(ys)) - 0.1, math.log10(max(ys)) + 0.1
    top, bottom, left, right = 56, 330, 60, WIDTH - 150

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - math.log10(xs[0])) / ((math.log10(xs[-1]) - math.log10(xs[0])) or 1)
        return left + across * (right - left), bottom - (math.log10(y) - low) / (high - low) * (bottom - top)

    parts = [
        f'<text x="0" y="18" font-weight="600">{escape(title)}</text>',
        f'<text class="soft" x="0" y="40">{escape(unit)}</text>',
        f'<text class="soft" x="{right}" y="{bottom + 36}" text-anchor="end">{escape(axis)}</text>',
    ]
    for x in xs:
        at, _ = place(x, ys[0])
        parts.append(f'<text class="soft" x="{at:.0f}" y="{bottom + 18}" text-anchor="middle">{short(x)}</text>')
    for y in sorted({10.0**power * step for power in range(-1, 5) for step in (1, 2, 5)}):
        if low <= math.log10(y) <= high:
            _, at = place(xs[0], y)
            parts += [
                f'<line class="rule" x1="{left}" x2="{right}" y1="{at:.0f}" y2="{at:.0f}"/>',
                f'<text class="soft" x="{left - 8}" y="{at + 4:.0f}" text-anchor="end">{short(y)}</text>',
            ]
    ends: list[float] = []
    for number, (name, line) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in line))
        at = place(*line[-1])[1] + 4
        while any(abs(at - other) < 16 for other in ends):
            at += 4
        ends.append(at)
        parts += [
            f'<polyline class="{colour} line" style="fill: none" points="{path}"/>',
            f'<text x="{right + 8}" y="{at:.0f}"><tspan class="{colour}" stroke="none">■</tspan> {escape(name)}</text>',
        ]
    return _svg(bottom + 44, title, parts)


def short(value: float) -> str:
    """A number in as few characters as say it."""
    if value >= 1_000_000 and value % 1_000_000 == 0:
        return f"{value / 1_000_000:.0f}M"
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.2g}" if value < 10 else f"{value:.1f}"


def _svg(height: int, title: str, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">'
    return "\n".join([head, f"<title>{escape(title)}</title>", STYLE, *parts, "</svg>", ""])
