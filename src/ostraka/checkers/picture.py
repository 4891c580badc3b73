"""A verdict as one page of HTML that needs nothing else: what was found, the operations, and why each precedes another.

Processes are rows, time goes to the right in the order of calls and answers, an operation is a bar from its call to its
answer (open where it never came), and arrows are the edges of a circle.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from ostraka.checkers.cycles import Edge
from ostraka.checkers.history import Operation, Type, show

STEP: Final = 96  # Pixels between two moments,
ROW: Final = 112  # and between two processes.
MARGIN: Final = 90
TOP: Final = 40
BAR: Final = 26

_STYLE: Final = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; color: #1c2430; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.05rem; margin-top: 2rem; }
pre { background: #f3f5f8; padding: .8rem 1rem; overflow-x: auto; border-radius: 6px; }
.holds { color: #176b3a; } .broken { color: #a3162a; } .unknown { color: #8a5a00; }
svg { background: #fbfcfd; border: 1px solid #dde3ea; border-radius: 6px; max-width: 100%; height: auto; }
svg text { font: 12px ui-monospace, monospace; } svg .process { fill: #5a6675; }
.ok { fill: #dcebfb; stroke: #3d7fc4; } .info { fill: #fdf0d5; stroke: #c48a1d; stroke-dasharray: 4 3; }
.fail { fill: #eceff3; stroke: #9aa5b1; } .edge { fill: none; stroke: #a3162a; stroke-width: 1.6; }
svg .kind { fill: #a3162a; font-weight: 600; paint-order: stroke; stroke: #fbfcfd; stroke-width: 5px; }
"""


class Section:
    """Something that was found: a title, a story, and the operations in it with the edges between them."""

    def __init__(self, title: str, story: str, culprits: Sequence[Operation] = (), edges: Sequence[Edge] = ()) -> None:
        self.title: Final = title
        self.story: Final = story
        self.culprits: Final = culprits
        self.edges: Final = edges


def page(title: str, holds: bool | None, verdict: str, sections: Sequence[Section]) -> str:
    """The whole page."""
    look = {True: "holds", False: "broken", None: "unknown"}[holds]
    parts = [f'<h1>{escape(title)}</h1><p class="{look}"><b>{look}</b></p><pre>{escape(verdict)}</pre>']
    for section in sections:
        parts.append(f"<h2>{escape(section.title)}</h2><pre>{escape(section.story)}</pre>")
        if section.culprits:
            parts.append(timeline(section.culprits, section.edges))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def timeline(operations: Sequence[Operation], edges: Sequence[Edge] = ()) -> str:
    """An SVG of these operations; `edges` name them by their places."""
    moments = sorted({each.called for each in operations} | {e.answered for e in operations if e.answered is not None})
    column = {moment: MARGIN + STEP * i for i, moment in enumerate(moments)}
    end = MARGIN + STEP * len(moments)
    rows = {process: i for i, process in enumerate(dict.fromkeys(each.process for each in operations))}
    labels = [_label(each) for each in operations]
    width = max(
        [end + 40, *[column[o.called] + 8 * len(text) + 30 for o, text in zip(operations, labels, strict=True)]]
    )
    drawn = [
        f'<text class="process" x="10" y="{TOP + ROW * row + BAR / 2 + 4:g}">{escape(str(process))}</text>'
        for process, row in rows.items()
    ]
    middles = []
    for operation, label in zip(operations, labels, strict=True):
        x, y = column[operation.called], TOP + ROW * rows[operation.process]
        right = end if operation.answered is None else max(column[operation.answered], x + 24)
        middles.append(((x + right) / 2, y, y + BAR))
        kind = operation.type.value if operation.type is not Type.INVOKE else "info"
        drawn.append(f'<rect class="{kind}" x="{x}" y="{y}" width="{right - x}" height="{BAR}" rx="5"/>')
        drawn.append(f'<text x="{x + 5}" y="{y - 8}">{escape(label)}</text>')
    for edge in edges:
        drawn.append(_arrow(middles[edge.before], middles[edge.after], edge.kind.name or ""))
    height = TOP + ROW * len(rows) - BAR
    marker = (
        '<defs><marker id="to" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="#a3162a"/></marker></defs>'
    )
    return f'<svg viewBox="0 0 {width:g} {height}" width="{width:g}">{marker}{"".join(drawn)}</svg>'


def _label(operation: Operation) -> str:
    told = operation.result if operation.type is Type.OK and operation.result is not None else operation.argument
    text = f"T{operation.called} {operation.f} {show(told)}"
    return text if len(text) <= 60 else text[:59] + "…"


Place = tuple[float, float, float]


def _arrow(start: Place, goal: Place, kind: str) -> str:
    """From bar to bar, bent so that two arrows between the same bars stand apart."""
    (x1, top1, bottom1), (x2, top2, bottom2) = start, goal
    down = top2 > top1 or (top1 == top2 and x2 > x1)
    y1, y2 = (bottom1, top2) if top2 > top1 else (top1, bottom2) if top2 < top1 else (top1, top2)
    bend = 44 if down else -44
    mx, my = (x1 + x2) / 2 + bend, (y1 + y2) / 2 - (24 if top1 == top2 else 0)
    way = f"M{x1 + bend / 3:g} {y1:g} Q{mx:g} {my:g} {x2 + bend / 3:g} {y2:g}"
    return (
        f'<path class="edge" marker-end="url(#to)" d="{way}"/>'
        f'<text class="kind" x="{mx:g}" y="{my:g}">{escape(kind.lower())}</text>'
    )
