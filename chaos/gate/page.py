"""A gate's answer as one page: the headline, each finding with its picture, what was tried and what was not."""

from __future__ import annotations

from pathlib import Path

import jinja2

from chaos import report
from chaos.gate import ci
from chaos.gate.result import Result, Seen, write


def write_page(folder: Path, result: Result) -> Path:
    """Write the page of a gate into its folder, beside those of its workers, and return its path.

    Pictures are in it, so that it can be sent as it is; it asks nobody for anything. Raises `Surroundings` where it
    cannot be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("chaos"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pictures = [None if f.picture is None else report.address(Path(f.picture)) for f in result.findings]
    html = environment.get_template("gate.html").render(
        result=result,
        findings=list(zip(result.findings, pictures, strict=True)),
        untried=list(ci.not_exercised(result)),
        pages=[p.relative_to(folder).as_posix() for p in sorted(folder.glob("*/index.html"))],
        seen=_seen,
    )
    page = folder / "index.html"
    write(page, html.encode())
    return page


def _seen(control: Seen) -> str:
    return {None: "not run", True: "seen" if control.times == 1 else f"seen {control.times} times", False: "NOT SEEN"}[
        control.seen
    ]
