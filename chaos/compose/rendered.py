"""What Compose makes of a compose file: asked of Compose itself, or read from what it printed elsewhere.

``docker compose config`` resolves variables, `extends`, `include`, anchors, profiles and every short form; nobody else
should try. A site with an engine but without Compose renders the file once on another machine, with
``--no-path-resolution`` so that paths stay relative to the file.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from chaos.errors import Misuse, Surroundings

PATIENCE = 60.0
"""Seconds for Compose to print a configuration; it takes 0.1 (measured), and more when it fetches an `include`."""
RENDER = "docker compose -f compose.yaml config --format json --no-path-resolution > compose.json"
_COMPOSES = (("docker", "compose"), ("docker-compose",))


class Rendered:
    """A configuration as Compose prints it: `content`, `folder` for what is relative in it, and how it came about."""

    def __init__(
        self, content: dict[str, Any], folder: Path, files: tuple[Path, ...], by: str, warnings: tuple[str, ...] = ()
    ) -> None:
        self.content = content
        self.warnings = warnings
        self.folder = folder
        self.files = files
        self.by = by

    @property
    def name(self) -> str:
        """Name the files as a person does."""
        return " with ".join(f.name for f in self.files)


def read(files: Sequence[Path]) -> Rendered:
    """Return what Compose makes of these files, later ones laid over earlier ones.

    One file that Compose has rendered already (JSON, or the YAML of docker-compose 1.29) is taken as it is. Raises
    `Misuse` for a file that is not there or that Compose refuses, and `Surroundings` where there is no Compose.
    """
    assert files, "somebody named a file"
    paths = tuple(Path(f) for f in files)
    for path in paths:
        if not path.is_file():
            raise Misuse(f"there is no compose file {path}; expected one, or what Compose rendered of it as JSON")
    if any(p.suffix == ".json" for p in paths):
        if len(paths) > 1:
            raise Misuse(
                f"{paths[0].name} and {len(paths) - 1} more: a rendered file stands alone; render all of them into one "
                "with docker compose -f A -f B config --format json --no-path-resolution"
            )
        return Rendered(
            _loaded(paths[0].read_bytes(), paths[0].name), paths[0].parent.resolve(), paths, "as it was rendered"
        )
    command, version = _compose()
    names = [word for path in paths for word in ("-f", str(path))]
    newer = not version.startswith("1.")
    printed, said = _run([*command, *names, "config", *(("--format", "json") if newer else ())], paths)
    content, folder = _loaded(printed, paths[0].name), paths[0].parent.resolve()
    return Rendered(content, folder, paths, f"as Compose {version} reads it", _warnings(said))


def describe() -> str:
    """Return which Compose there is, for ``ownframe doctor``; raises `Surroundings` where there is none."""
    command, version = _compose()
    return f"{' '.join(command)} {version}"


def _compose() -> tuple[tuple[str, ...], str]:
    for command in _COMPOSES:
        if shutil.which(command[0]) is None:
            continue
        asked = subprocess.run(
            [*command, "version", "--short"], capture_output=True, text=True, check=False, timeout=PATIENCE
        )
        found = re.fullmatch(r"v?(\d+\.\d+\S*)", asked.stdout.strip())
        if asked.returncode == 0 and found:
            return command, found[1]
    raise Surroundings(
        "there is no Docker Compose here (neither `docker compose` nor `docker-compose` answers); install Compose v2, "
        f"or render the file where there is one, `{RENDER}`, and give that file instead"
    )


def _warnings(said: str) -> tuple[str, ...]:
    """Return what Compose warns of, such as a variable that is not set."""
    return tuple(m.replace('\\"', '"') for m in re.findall(r'level=warning msg="((?:[^"\\]|\\.)*)"', said))


def _run(command: Sequence[str], files: tuple[Path, ...]) -> tuple[bytes, str]:
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise Surroundings(f"waited {PATIENCE:.0f} s for `{' '.join(command)}`; try it yourself") from None
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())[-600:]
        raise Misuse(f"Compose does not take {' with '.join(map(str, files))}: {said or 'it does not say why'}")
    return done.stdout, done.stderr.decode(errors="replace")


def _loaded(data: bytes, name: str) -> dict[str, Any]:
    try:
        content = json.loads(data) if data.lstrip()[:1] == b"{" else yaml.safe_load(data)
    except (ValueError, yaml.YAMLError, RecursionError) as wrong:
        raise Misuse(f"{name} is not what Compose prints: {' '.join(str(wrong).split())[:200]}; {_again()}") from None
    if not isinstance(content, dict) or not isinstance(content.get("services"), dict) or not content["services"]:
        raise Misuse(f"{name} has no services; {_again()}")
    unescaped: dict[str, Any] = _unescaped(content)
    return unescaped


def _again() -> str:
    return f"expected the output of `{RENDER}`"


def _unescaped(value: Any) -> Any:
    """Compose prints a dollar twice, so that what it prints can be read by it again."""
    if isinstance(value, str):
        return value.replace("$$", "$")
    if isinstance(value, dict):
        return {k: _unescaped(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_unescaped(v) for v in value]
    return value
