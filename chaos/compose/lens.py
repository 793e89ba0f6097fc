"""Where a camera of somebody's gets the scene: found in what the file says, and filled in once there is an address."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from chaos.compose.labels import Labels, Serves
from chaos.errors import Misuse
from chaos.topology import Described, Lens, Mount

FILES = (".mjpeg", ".mjpg", ".jpeg", ".jpg", ".ts")
"""Files that a scene is written into while a camera reads: pictures one after the other, one picture, H.264 in TS."""
_LARGEST = 1 << 20
_MOST_FILES = 500


def find(service: str, labels: Labels, container: Described) -> Lens:
    """Return where this camera gets the scene. Raises `Misuse` when what its label names is nowhere in it."""
    text = labels.lens
    if text.startswith("env:"):
        name = text.removeprefix("env:").strip()
        return Lens(labels.serves or _by_scheme(container.environment.get(name, "")) or "mjpeg", variable=name)
    if text.startswith("/"):
        return _file(service, text)
    serves = labels.serves or _by_scheme(text)
    if serves is None:
        raise Misuse(
            f"{service}: ownframe.lens is {text!r}; expected env:NAME, a path, or an address that begins with rtsp:// "
            "or http:// (or ownframe.lens.serves beside it)"
        )
    files = {target: content for target, content in _texts(container) if text in content}
    words = [*container.environment.values(), *(container.command or ()), *(container.entrypoint or ())]
    if not files and not any(text in word for word in words):
        raise Misuse(
            f"{service}: ownframe.lens is {text!r}, which is neither in its environment nor in its command nor in a "
            "file mounted into it; expected what it films from, as your file has it, or env:NAME"
        )
    return Lens(serves, instead=text, files=files)


def filled(container: Described, address: str) -> Described:
    """Return the container with the scene at `address`: a URL, or for a ``file`` the path of this machine's pipe."""
    lens = container.lens
    assert lens is not None, "only a camera is filled in"
    if lens.variable:
        return msgspec.structs.replace(container, environment=container.environment | {lens.variable: address})
    if lens.serves == "file":
        pipe = Mount("bind", lens.instead, address, read_only=True)
        return msgspec.structs.replace(container, mounts=(*container.mounts, pipe))

    def fill(text: str) -> str:
        return text.replace(lens.instead, address)

    kept = tuple(m for m in container.mounts if m.target not in lens.files)
    made = tuple(Mount("file", t, read_only=True, content=fill(content)) for t, content in lens.files.items())
    return msgspec.structs.replace(
        container,
        environment={k: fill(v) for k, v in container.environment.items()},
        command=None if container.command is None else tuple(map(fill, container.command)),
        entrypoint=None if container.entrypoint is None else tuple(map(fill, container.entrypoint)),
        mounts=(*kept, *made),
    )


def _by_scheme(address: str) -> Serves | None:
    if address.startswith(("rtsp://", "rtspt://")):
        return "rtsp"
    return "mjpeg" if address.startswith(("http://", "https://")) else None


def _file(service: str, path: str) -> Lens:
    if path.startswith("/dev/"):
        raise Misuse(
            f"{service}: ownframe.lens is {path}; a video device cannot be offered to a container without the host's "
            "rights; expected a camera that films from an address or a file"
        )
    if not path.endswith(FILES):
        raise Misuse(f"{service}: ownframe.lens is {path}; expected a file that ends with {', '.join(FILES)}")
    return Lens("file", instead=path)


def _texts(container: Described) -> Iterator[tuple[str, str]]:
    """Yield what is mounted, as text, by where the container sees it; what is large or no text is passed over."""
    for mount in container.mounts:
        if mount.kind == "file":
            yield mount.target, mount.content
        elif mount.kind == "bind":
            whole = Path(mount.source)
            below = sorted(p for p in whole.rglob("*") if p.is_file())[:_MOST_FILES] if whole.is_dir() else [whole]
            for path in below:
                target = mount.target if path == whole else f"{mount.target.rstrip('/')}/{path.relative_to(whole)}"
                text = _text(path)
                if text is not None:
                    yield target, text


def _text(path: Path) -> str | None:
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST:
            return None
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return None
