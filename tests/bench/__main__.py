"""``tox -e bench``: every benchmark of the project, printed as a table and stored as JSON. Never an assertion."""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent


def main(chosen: list[str]) -> None:
    """Run ``bench_*.py`` (all, or those whose names are given) and store ``bench.json`` in the working folder."""
    console = Console(highlight=False)
    names = [f.stem.removeprefix("bench_") for f in sorted(HERE.glob("bench_*.py"))]
    unknown = [c for c in chosen if c not in names]
    if unknown:
        sys.exit(f"no benchmark {', '.join(unknown)}; there are {', '.join(names)}")
    results: dict[str, object] = {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}
    }
    for name in chosen or names:
        console.print(f"[bold]{name}[/]")
        measured = importlib.import_module(f"tests.bench.bench_{name}").run()
        results[name] = measured
        table = Table("what", "measured", box=None, show_header=False)
        for what, value in measured.items():
            table.add_row(what, f"{value:.3g}" if isinstance(value, float) else str(value))
        console.print(table)
    Path("bench.json").write_text(json.dumps(results, indent=2, sort_keys=True) + "\n")
    console.print("stored in bench.json")


if __name__ == "__main__":
    main(sys.argv[1:])
