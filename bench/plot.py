# SPDX-License-Identifier: MIT
"""A bar chart as SVG: kernel and minflt, one pair of bars for each row."""

import math

WIDTH, LEFT, RIGHT, ROW, BAR, TOP = 860, 230, 150, 52, 16, 64
KERNEL, MINFLT, INK, GRID = "#8d99ae", "#2a7f62", "#222222", "#dddddd"


def _text(x, y, text, anchor="start", size=12, color=INK, weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{color}" '
            f'font-weight="{weight}">'
            f"{text.replace('&', '&amp;').replace('<', '&lt;')}</text>")


def _step(largest):
    """A round distance of grid lines, about five of them."""
    power = 10 ** math.floor(math.log10(largest))
    for step in (power / 5, power / 2, power, power * 2):
        if largest / step <= 6:
            return step
    return power * 5


def _verdict(kernel, minflt, target):
    if not kernel or not minflt:
        return "", INK
    ratio = kernel / minflt
    text = f"{ratio:.2f}x" + (f" (at least {target:g})" if target else "")
    return text, "#b3261e" if target and ratio < target else MINFLT


def bars(path, title, theirs, rows):
    """rows: (title, kernel's value or None, minflt's or None, least ratio or None); theirs: what the kernel's side is called"""
    largest = max([v for row in rows for v in row[1:3] if v] or [1])
    scale = (WIDTH - LEFT - RIGHT) / largest
    height = TOP + ROW * len(rows) + 30
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
           f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
           _text(16, 24, title, size=15, weight="bold"),
           f'<rect x="16" y="36" width="12" height="12" fill="{KERNEL}"/>', _text(34, 47, theirs),
           f'<rect x="230" y="36" width="12" height="12" fill="{MINFLT}"/>', _text(248, 47, "minflt")]
    step, at = _step(largest), 0
    while at <= largest:
        x = LEFT + at * scale
        out.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{height - 26}" stroke="{GRID}"/>')
        out.append(_text(x, height - 10, f"{at:g}", "middle", 11))
        at += step
    for i, (name, kernel, minflt, target) in enumerate(rows):
        y = TOP + i * ROW + 8
        out.append(_text(LEFT - 10, y + BAR + 4, name, "end"))
        for value, color, dy in ((kernel, KERNEL, 0), (minflt, MINFLT, BAR + 2)):
            if value:
                out.append(f'<rect x="{LEFT}" y="{y + dy}" width="{value * scale:.1f}" height="{BAR}" fill="{color}"/>')
                out.append(_text(LEFT + value * scale + 5, y + dy + 13, f"{value:.2f}", size=11))
        text, color = _verdict(kernel, minflt, target)
        out.append(_text(WIDTH - 10, y + BAR + 4, text, "end", color=color, weight="bold"))
    out.append("</svg>")
    with open(path, "w") as f:
        f.write("\n".join(out) + "\n")
