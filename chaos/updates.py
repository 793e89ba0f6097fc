"""Updates: reads an ``update.toml`` and lays what it changes over a copy of the home system.

An update changes files, pins packages of a node to other versions, or puts a node in front of another; or all of it. It
is a folder. One outside the repository works exactly like one inside: ``--update`` takes a name from the
home's ``updates`` folder or a path to a folder.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from chaos.errors import CannotRunHere, Misuse, nearest
from chaos.topology import CHOICES, Node, Topology

PINS = "pins.txt"
"""Name of the file in a node's folder that a stack installs over the node's own requirements."""


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file laid over a node's. `replaces` is ``sha256:`` and the hash of the file that it was written against."""

    node: str
    path: str
    replaces: str | None = None


class Pin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A package of a node's at another version. `node` is the node's folder, `requirement` as pip takes it."""

    node: str
    requirement: str
    ecosystem: Literal["pypi"] = "pypi"


class Added(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A node that the update puts in front of the port `port` of the node `in_front_of`.

    Whoever dialled that port dials the first of `ports`, over the link that it had. The node dials on over the link
    ``{name}.{in_front_of}``; the rest is as for a node in ``home.toml``. It speaks no operator contract: `forget` is
    run in it when a case begins, so that no case sees what another one left.
    """

    name: str
    in_front_of: str
    source: str
    command: tuple[str, ...]
    environment: dict[str, str]
    port: str = "public"
    ports: tuple[str, ...] = ("public",)
    forget: tuple[str, ...] = ()


class Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``update.toml`` says. Where a leak turned foreign is found without `guilty`, which may be left out."""

    schema: Literal[1]
    name: str
    title: str
    story: str
    known_from: tuple[str, ...]
    stacks: tuple[Literal["process", "docker"], ...]
    guilty: str = ""
    python: str = ">=3.11"
    control: str | None = None
    before: str | None = None
    """The update that this one follows: what is there when it is rolled back. None: the home system as it is."""
    silent_when_healthy: bool = True
    needs: dict[str, str] = {}
    """What must be chosen of the home system, such as ``{"camera": "mediamtx"}``; else it changes what nobody runs."""
    files: tuple[File, ...] = ()
    pins: tuple[Pin, ...] = ()
    nodes: tuple[Added, ...] = ()


class Update(msgspec.Struct, frozen=True):
    """A described update and the folder that it lies in."""

    folder: Path
    description: Description

    @property
    def name(self) -> str:
        """The name that the update gives itself."""
        return self.description.name

    @property
    def digest(self) -> str:
        """Hash of everything in the folder, as twelve hexadecimal digits."""
        return _digest(self.folder)[:12]


def digests(home: Path, sources: Iterable[str]) -> dict[str, str]:
    """Return a hash of each of these folders of a home, as it was laid."""
    return {source: f"sha256:{_digest(home / source)}" for source in sorted(sources)}


def _digest(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
        total.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()


def home_folder() -> Path:
    """Return the reference home system's sources: the clone's, else those that the wheel carries."""
    package = Path(__file__).parent
    for folder in (package.parent / "scenarios" / "home", package / "_scenarios" / "home"):
        if (folder / "home.toml").is_file():
            return folder
    raise Misuse(f"no reference home system beside {package}; install ownframe again, or work from a clone")


def known(home: Path | None = None) -> dict[str, Update]:
    """Return the updates that come with the home system, by name."""
    folders = ((home or home_folder()) / "updates").glob("*/update.toml")
    return {u.name: u for u in (read(f.parent) for f in sorted(folders))}


def find(name_or_path: str, home: Path | None = None) -> Update:
    """Return the update of that name, or in that folder; `Misuse` names the nearest right one."""
    if "/" in name_or_path or (Path(name_or_path) / "update.toml").is_file():
        return read(Path(name_or_path))
    updates = known(home)
    if name_or_path not in updates:
        raise Misuse(f"there is no update {name_or_path!r}{nearest(name_or_path, list(updates))}")
    return updates[name_or_path]


def read(folder: Path) -> Update:
    """Read the update in `folder`; `Misuse` says what its description lacks."""
    path = folder / "update.toml"
    try:
        update = Update(folder.resolve(), msgspec.convert(tomllib.loads(path.read_text()), Description))
        SpecifierSet(update.description.python)
        for pin in update.description.pins:
            Requirement(pin.requirement)
    except (FileNotFoundError, NotADirectoryError):
        raise Misuse(f"{folder} is no update: it has no update.toml") from None
    except OSError as failed:
        raise Misuse(f"{path} cannot be read: {failed}; --update takes a name or a folder") from None
    except InvalidSpecifier as wrong:
        raise Misuse(f"{path}: python: {wrong}; expected something like '>=3.11,<3.14'") from None
    except InvalidRequirement as wrong:
        said = str(wrong).splitlines()[0]
        raise Misuse(f"{path}: pins: {said}; expected a requirement like 'redis==4.5.3'") from None
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as wrong:
        raise Misuse(f"{path}: {wrong}") from None
    return update


def check_runs_here(update: Update, stack: str, choices: Mapping[str, str] | None = None) -> None:
    """Raise `CannotRunHere` when the update does not run on `stack`, or not on this Python (process stack).

    So it does when something else is chosen of the home system than it needs. Whether its pins can be had is seen when
    they are installed.
    """
    description = update.description
    for what, needed in description.needs.items():
        if (chosen := (choices or {}).get(what, CHOICES.get(what))) != needed:
            raise CannotRunHere(
                f"update {update.name} cannot run here: it needs --{what} {needed}, and the {what} is {chosen}"
            )
    if stack not in description.stacks:
        stacks = " or ".join(description.stacks)
        raise CannotRunHere(
            f"update {update.name} cannot run here: it needs the stack {stacks}, not {stack}; --stack chooses one"
        )
    python = platform.python_version()
    if stack == "process" and not SpecifierSet(description.python).contains(python, prereleases=True):
        raise CannotRunHere(
            f"update {update.name} cannot run here: it needs Python {description.python}, this is {python}; run it "
            "with such a Python, or with --stack docker"
        )


def applied(update: Update | None, topology: Topology) -> Topology:
    """Return the topology with the update's nodes in front of those that they were made for."""
    for added in update.description.nodes if update is not None else ():
        node = Node(
            name=added.name,
            role="other",
            command=added.command,
            ports=added.ports,
            environment=added.environment,
            source=added.source,
            forget=added.forget,
        )
        topology = topology.in_front(node, added.in_front_of, added.port)
    return topology


def touched(update: Update | None) -> frozenset[str]:
    """Return the nodes' folders in which the update changes something; ``common`` belongs to every node."""
    if update is None:
        return frozenset()
    described = update.description
    return frozenset([*(f.path.split("/", 1)[0] for f in described.files), *(p.node for p in described.pins)])


def lay(home: Path, update: Update | None, into: Path) -> Path:
    """Copy the home system to `into`, with the update laid over it, and return `into`.

    Raises `Misuse` when the update was written against another version of a file, or leaves the home's folder.
    """
    shutil.copytree(home, into, ignore=shutil.ignore_patterns("updates", "__pycache__"), dirs_exist_ok=True)
    if update is None:
        return into
    for file in update.description.files:
        target, source = into / file.path, update.folder / file.path
        if not target.resolve().is_relative_to(into.resolve()) or not source.resolve().is_relative_to(update.folder):
            raise Misuse(f"update {update.name}: {file.path!r} leaves the folder; expected a path inside it")
        if not source.is_file():
            raise Misuse(f"update {update.name}: update.toml names {file.path}, which is not in {update.folder}")
        _check_base(update, file, target)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    _lay_pins(update, into)
    return into


def _lay_pins(update: Update, into: Path) -> None:
    pinned: dict[str, list[str]] = {}
    for pin in update.description.pins:
        pinned.setdefault(pin.node, []).append(pin.requirement)
    for node, requirements in pinned.items():
        if not (into / node / "requirements.txt").is_file():
            nodes = [p.parent.name for p in sorted(into.glob("*/requirements.txt"))]
            raise Misuse(f"update {update.name} pins packages of {node!r}, which has none{nearest(node, nodes)}")
        (into / node / PINS).write_text("".join(f"{r}\n" for r in requirements))


def _check_base(update: Update, file: File, target: Path) -> None:
    found = f"sha256:{hashlib.sha256(target.read_bytes()).hexdigest()}" if target.is_file() else None
    if found != file.replaces:
        raise Misuse(
            f"update {update.name} was written against another {file.path}: it expects {file.replaces or 'no file'}, "
            f"the home system has {found or 'no file'}; bring the update to the new file, then put the new hash there"
        )
