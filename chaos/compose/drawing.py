"""A home system as a picture: lines of text, Mermaid, or SVG. Hubs stand on the left, cameras on the right."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from html import escape
from itertools import groupby

from chaos.topology import Node, Topology

_WIDE, _HIGH, _ACROSS, _DOWN, _EDGE = 150, 40, 250, 64, 20
_COLOURS = {"hub": "#dbeafe", "camera": "#dcfce7", "relay": "#fef3c7", "cache": "#fee2e2", "accounts": "#ede9fe"}


def as_text(topology: Topology) -> str:
    """Return a line for each link, those of one client together, hubs first."""
    columns = _columns(topology)
    ordered = sorted(topology.links, key=lambda k: (columns[k.client], k.client, columns[k.server], k.server, k.port))
    wide = max((len(k.client) for k in ordered), default=0)
    named = max((len(k.name) for k in ordered), default=0)
    lines = []
    for client, links in groupby(ordered, key=lambda k: k.client):
        for n, link in enumerate(links):
            first = client if n == 0 else ""
            lines.append(f"{first:>{wide}} ──{link.name:─^{named + 2}}──> {link.server}:{link.port}")
    return "\n".join(lines) or "(no link)"


def as_mermaid(topology: Topology) -> str:
    """Return a Mermaid flowchart."""
    ids = {n.name: f"n{i}" for i, n in enumerate(topology.nodes)}
    nodes = [f'  {ids[n.name]}["{n.name}<br/>{_below(n)}"]' for n in topology.nodes]
    links = [f'  {ids[k.client]} -- "{k.name}" --> {ids[k.server]}' for k in topology.links]
    return "\n".join(["flowchart LR", *nodes, *links, ""])


def as_svg(topology: Topology) -> str:
    """Return a drawing that stands alone: no script, no font, no address; names from the file are escaped."""
    columns = _columns(topology)
    rows: dict[int, int] = {}
    at: dict[str, tuple[int, int]] = {}
    for node in sorted(topology.nodes, key=lambda n: (columns[n.name], n.owner or "", n.name)):
        column = columns[node.name]
        at[node.name] = (_EDGE + column * _ACROSS, _EDGE + rows.get(column, 0) * _DOWN)
        rows[column] = rows.get(column, 0) + 1
    width = 2 * _EDGE + max(columns.values(), default=0) * _ACROSS + _WIDE
    height = 2 * _EDGE + max(rows.values(), default=1) * _DOWN - (_DOWN - _HIGH)
    body = [*_lines(topology, at), *_boxes(topology, at)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="13" role="img">\n<title>Nodes and links of the home system</title>\n'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#555"/></marker></defs>\n' + "\n".join(body) + "\n</svg>\n"
    )


DRAWINGS: Mapping[str, Callable[[Topology], str]] = {".txt": as_text, ".mmd": as_mermaid, ".svg": as_svg}
"""How a file is drawn, by the end of its name."""


def _below(node: Node) -> str:
    return node.role if node.container is None else f"{node.container.service}, {node.role}"


def _columns(topology: Topology) -> dict[str, int]:
    """Return how far each node is from the hubs, by links, whoever dials; cameras are the last."""
    far = {n.name: 0 for n in topology.nodes if n.role == "hub"}
    front = set(far)
    while front:
        ends = {e for k in topology.links if front & {k.client, k.server} for e in (k.client, k.server)}
        front = ends - far.keys()
        far |= dict.fromkeys(front, max(far.values()) + 1)
    cameras = {n.name for n in topology.nodes if n.role == "camera"}
    last = max((d for n, d in far.items() if n not in cameras), default=0) + 1
    return {n.name: last if n.name in cameras else far.get(n.name, last) for n in topology.nodes}


def _boxes(topology: Topology, at: Mapping[str, tuple[int, int]]) -> Iterator[str]:
    for node in topology.nodes:
        x, y = at[node.name]
        fill = _COLOURS.get(node.role, "#f3f4f6")
        yield f'<rect x="{x}" y="{y}" width="{_WIDE}" height="{_HIGH}" rx="6" fill="{fill}" stroke="#555"/>'
        yield f'<text x="{x + 10}" y="{y + 17}" font-weight="bold">{escape(node.name[:20])}</text>'
        yield f'<text x="{x + 10}" y="{y + 33}" fill="#555" font-size="11">{escape(_below(node)[:24])}</text>'


def _lines(topology: Topology, at: Mapping[str, tuple[int, int]]) -> Iterator[str]:
    for link in topology.links:
        (x1, y1), (x2, y2) = at[link.client], at[link.server]
        right = x1 <= x2
        start, end = (x1 + _WIDE * right, y1 + _HIGH // 2), (x2 + _WIDE * (not right), y2 + _HIGH // 2)
        if x1 == x2:
            end = (x2 + _WIDE, y2 + _HIGH // 2)
        middle = ((start[0] + end[0]) // 2, (start[1] + end[1]) // 2 - 4)
        yield (
            f'<line x1="{start[0]}" y1="{start[1]}" x2="{end[0]}" y2="{end[1]}" stroke="#555" marker-end="url(#tip)"/>'
            f'<text x="{middle[0]}" y="{middle[1]}" text-anchor="middle" font-size="11">{escape(link.name)}</text>'
        )
