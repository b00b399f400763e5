# SPDX-License-Identifier: MIT
"""A flame graph as SVG: stacks from bottom to top, the width of a frame is its share of the samples. Frames tell their name and share when
the pointer rests on them."""
import html

CHAR = 6.6
WIDTH, LEFT, ROW, TOP = 1200, 10, 17, 56
COLORS = {"kernel": ("#8d99ae", "the kernel"), "minflt": ("#2a9d6f", "minflt"), "program": ("#e0a458", "the program"),
          "other": ("#c9c9c9", "libc, other")}


def tree(stacks):
    """stacks: {((name, kind), ...) from the root: samples} => node: [samples, {frame: node}]"""
    root = [0, {}]
    for stack, samples in stacks.items():
        node = root
        node[0] += samples
        for frame in stack:
            node = node[1].setdefault(frame, [0, {}])
            node[0] += samples
    return root


def depth(node):
    return 1 + max((depth(child) for child in node[1].values()), default=0)


def draw(node, total, x, level, bottom, out):
    for frame in sorted(node[1]):
        child = node[1][frame]
        width = child[0] / total * (WIDTH - 2 * LEFT)
        if width >= 0.4:
            (name, kind), y = frame, bottom - (level + 1) * ROW
            shown = name if len(name) * CHAR < width - 4 else name[:max(0, int((width - 4) / CHAR) - 1)]
            out.append(f'<g><title>{html.escape(name)}: {child[0] / total * 100:.1f} %</title>'
                       f'<rect x="{x:.1f}" y="{y}" width="{max(width - 0.4, 0.3):.1f}" height="{ROW - 1}" fill="{COLORS[kind][0]}"/>'
                       + (f'<text x="{x + 2:.1f}" y="{y + 12}">{html.escape(shown)}</text>' if len(shown) > 2 else "") + "</g>")
            draw(child, total, x, level + 1, bottom, out)
        x += width


def write(path, title, stacks):
    root = tree(stacks)
    bottom = TOP + depth(root) * ROW
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 10}" font-family="sans-serif" font-size="11">',
           f'<rect width="{WIDTH}" height="{bottom + 10}" fill="white"/>',
           f'<text x="{LEFT}" y="22" font-size="15" font-weight="bold">{html.escape(title)}</text>']
    for i, (color, meaning) in enumerate(COLORS.values()):
        out.append(f'<rect x="{LEFT + i * 130}" y="32" width="12" height="12" fill="{color}"/>'
                   f'<text x="{LEFT + 18 + i * 130}" y="42">{meaning}</text>')
    draw(root, root[0], LEFT, 0, bottom, out)
    out.append("</svg>")
    with open(path, "w") as f:
        f.write("\n".join(out) + "\n")
