"""The figures as a picture: which share of its target each one uses. SVG, written by hand."""

import math
import statistics
from collections.abc import Mapping
from html import escape

from scripts.benchmark.report import shown, spread
from scripts.benchmark.rows import Result

WIDTH, LEFT, RIGHT, TOP, LINE = 1100, 390, 270, 84, 26
LEAST, MOST = 0.01, 4.0
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f; }
.title { font-weight: 600; font-size: 16px; }
.small { font-size: 12px; fill: #57606a; }
.right { text-anchor: end; }
.middle { text-anchor: middle; }
.good { fill: #2f7d5b; }
.bad { fill: #c0392b; }
.whisker { stroke: #24292f; stroke-width: 1.5; }
.grid { stroke: #d8dee4; }
.target { stroke: #24292f; stroke-width: 1.5; stroke-dasharray: 4 3; }
"""


def svg(results: Mapping[str, Result], machine: str) -> str:
    """A bar for each figure that has a target: its median, and a line from the best run to the worst one."""
    drawn = [result for result in results.values() if result.used]
    height = TOP + LINE * len(drawn) + 44
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">',
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(16, 28, "How much of what its target allows each figure uses", "title"),
        _text(
            16, 48, f"Median, best and worst of {max((len(r.used) for r in drawn), default=0)} runs. {machine}", "small"
        ),
        *_scale(TOP + LINE * len(drawn)),
    ]
    for number, result in enumerate(drawn):
        lines += _bar(result, TOP + LINE * number)
    return "\n".join([*lines, "</svg>", ""])


def _scale(bottom: float) -> list[str]:
    lines = []
    for value in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0):
        kind = "target" if value == 1 else "grid"
        lines.append(f'<line class="{kind}" x1="{_x(value)}" x2="{_x(value)}" y1="{TOP - 8}" y2="{bottom}"/>')
        lines.append(_text(_x(value), bottom + 18, "target" if value == 1 else f"{value:g} x", "small middle"))
    return lines


def _bar(result: Result, y: float) -> list[str]:
    used = sorted(result.used)
    median = statistics.median(used)
    kind = "good" if median <= 1 else "bad"
    middle, long = y + LINE / 2, _x(median) - LEFT
    value = f"{shown(statistics.median(result.values))} {result.row.unit}"
    ratio = f", {spread([statistics.median(result.ratios)])} x floor" if result.ratios else ""
    return [
        _text(LEFT - 12, middle + 4, result.row.name.replace("`", ""), "right"),
        f'<rect class="{kind}" x="{LEFT}" y="{y + 4}" width="{long:.1f}" height="{LINE - 8}" rx="2"/>',
        f'<line class="whisker" x1="{_x(used[0])}" x2="{_x(used[-1])}" y1="{middle}" y2="{middle}"/>',
        _text(WIDTH - RIGHT + 12, middle + 4, f"{value}{ratio}", "small"),
    ]


def _x(value: float) -> float:
    """On a logarithmic scale, in pixels."""
    share = math.log(min(max(value, LEAST), MOST) / LEAST) / math.log(MOST / LEAST)
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text x="{x}" y="{y}" class="{kind}">{escape(text)}</text>'
