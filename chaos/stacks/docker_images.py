"""Images of the nodes, of Toxiproxy and of what holds its network: built once, found again by their content.

A node's image is named for a hash of everything that goes into it: its folder and ``common/`` with an update laid over
them, the packages that the update pins, and the base image. So a second start builds nothing, and an update is just
another name. How a site's builds reach a package index is no part of an image and so none of the hash: the certificate
bundle and pip's settings stay in a stage that is thrown away.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

import docker.errors
import msgspec
from docker.utils.build import PatternMatcher, tar

from chaos import children, server
from chaos.errors import CannotRunHere, Misuse, OwnframeError, Surroundings
from chaos.stacks import docker_described
from chaos.stacks.docker_engine import asking, each
from chaos.stacks.packages import no_wheel
from chaos.updates import PINS

if TYPE_CHECKING:
    from docker import DockerClient

    from chaos.topology import Build, Described

BASE_SETTING = "OWNFRAME_DOCKER_BASE"
CA_SETTING = "OWNFRAME_BUILD_CA"
NETWORK_SETTING = "OWNFRAME_BUILD_NETWORK"
IMAGE = "ownframe.image"
_BUNDLES = (CA_SETTING, "PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
"""Build arguments that every engine knows, and keeps out of an image's history and of its cache."""
_GO_SETTINGS = ("GOPROXY", "GOSUMDB", "GONOSUMDB", "GOPRIVATE")
_PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "timeout", "proxy")
_TOXIPROXY = """FROM scratch
COPY toxiproxy-server /toxiproxy-server
USER 10001:10001
ENTRYPOINT ["/toxiproxy-server"]
"""
_COMMON = "common"
_DOCKERFILE = "Dockerfile"
_LINES = 15
_BUILD_SECONDS = 900
"""Seconds of silence in a build; installing the packages takes 10 (measured), this is for a slow line."""
_BASE_LINE = re.compile(r"^ARG BASE=(\S+)$", re.MULTILINE)


class Images:
    """Builds what a home needs and is not there; `say` gets a line before anything that takes seconds."""

    def __init__(self, client: DockerClient, home: Path, say: Callable[[str], None]) -> None:
        self._client = client
        self._home = home
        self._say = say
        self.base = self._base()
        """The name of the base image, which is there."""
        self._base_id = self._id(self.base) or ""

    def nodes(self, sources: Sequence[str]) -> dict[str, str]:
        """Return the image of each of these folders of the home, or of the Dockerfiles that are named."""
        wanted = sorted(set(sources))
        return dict(zip(wanted, each(self._node, wanted), strict=True))

    def toxiproxy(self) -> str:
        """Return the image of Toxiproxy: nothing but a binary that needs nothing else."""
        binary = server.static_server(self._say).read_bytes()
        files = {"Dockerfile": _TOXIPROXY.encode(), "toxiproxy-server": binary}
        return self._built("toxiproxy", files, "Dockerfile", {})

    def described(self, containers: Sequence[Described]) -> dict[str, str]:
        """Return the image of each of these services, by its name: built as its file says, pulled, or there."""
        named = {c.service: str(msgspec.json.encode(c.build, order="sorted")) for c in containers}
        alike = {named[c.service]: c for c in reversed(containers)}
        made = dict(zip(alike, each(self._of, alike.values()), strict=True))
        pulled = {c.service: docker_described.pull(self._client, c) for c in containers if c.build is None}
        return {c.service: pulled.get(c.service) or made[named[c.service]] for c in containers}

    def _of(self, container: Described) -> str:
        return "" if container.build is None else self._build_of(container.build, container.service)

    def _build_of(self, build: Build, service: str) -> str:
        """Build what a compose file describes; the engine's own cache says what is new."""
        tag = f"ownframe-yours-{re.sub('[^a-z0-9]+', '-', service.lower()).strip('-') or 'service'}:latest"
        folder = Path(build.folder)
        text = build.inline or (folder / build.dockerfile).read_text(errors="replace")
        arguments = dict(build.arguments)
        if re.search(rf"^ARG {BASE_SETTING}\b", text, re.MULTILINE) and not arguments.get(BASE_SETTING):
            arguments[BASE_SETTING] = self.base
        ignored = folder / ".dockerignore"
        lines = [line.strip() for line in ignored.read_text().splitlines()] if ignored.is_file() else []
        exclude = [line for line in lines if line and not line.startswith("#")]
        dockerfile = (".ownframe.Dockerfile", text)
        self._say(f"building the image of {service}")
        with tempfile.TemporaryFile() as context:
            tar(folder, exclude=exclude, dockerfile=dockerfile, fileobj=context)
            return self._build(tag, service, context, dockerfile[0], arguments, target=build.target or None)

    def _node(self, source: str) -> str:
        named = Path(source).name == _DOCKERFILE
        dockerfile = source if named else f"{source}/{_DOCKERFILE}"
        if not (self._home / dockerfile).is_file():
            raise Misuse(f"the home system has no {dockerfile}; every node needs one for --stack docker")
        folders = Path(dockerfile).parent.parts
        return self._built("-".join(folders), self._context(folders[0], dockerfile), dockerfile, {"BASE": self.base})

    def _context(self, source: str, dockerfile: str = "") -> dict[str, bytes]:
        """Return what a node's image is made of, by path: its folder, what all nodes share, and what builds it."""
        ignored = self._home / ".dockerignore"
        patterns = ignored.read_text().splitlines() if ignored.is_file() else []
        wanted = set(PatternMatcher([p for p in patterns if p and not p.startswith("#")]).walk(str(self._home)))
        files = {
            path: (self._home / path).read_bytes()
            for path in sorted(wanted)
            if path.split("/")[0] in (source, _COMMON) and (self._home / path).is_file()
        }
        dockerfile = dockerfile or f"{source}/{_DOCKERFILE}"
        files[dockerfile] = (self._home / dockerfile).read_bytes()
        pins = self._home / source / PINS
        if pins.is_file():
            files[PINS] = pins.read_bytes()
        return files

    def _built(self, name: str, files: dict[str, bytes], dockerfile: str, arguments: dict[str, str]) -> str:
        digest = hashlib.sha256(self._base_id.encode() if arguments else b"")
        for path, content in sorted(files.items()):
            digest.update(f"{path}\0{len(content)}\0".encode() + content)
        tag = f"ownframe-{name}:{digest.hexdigest()[:16]}"
        if self._id(tag):
            return tag
        with children.alone(tag):
            if not self._id(tag):
                self._say(f"building the image {tag}")
                context = _tar(files | (_settings() if arguments else {}))
                self._build(tag, name, context, dockerfile, arguments, pins=files.get(PINS, b"").decode())
        return tag

    def _build(
        self,
        tag: str,
        name: str,
        context: IO[bytes],
        dockerfile: str,
        arguments: dict[str, str],
        pins: str = "",
        target: str | None = None,
    ) -> str:
        """Build an image, and return its digest."""
        made = tag
        said: list[str] = []
        with asking(f"build the image {tag}"):
            for line in self._client.api.build(
                fileobj=context,
                custom_context=True,
                dockerfile=dockerfile,
                tag=tag,
                buildargs=arguments | {name: os.environ[name] for name in _PROXIES if os.environ.get(name)},
                rm=True,
                forcerm=True,
                decode=True,
                timeout=_BUILD_SECONDS,
                network_mode=self._network(),
                target=target,
                labels={IMAGE: name},
            ):
                made = line.get("aux", {}).get("ID", made)
                said += (line.get("stream") or line.get("error") or "").splitlines()
                if "error" in line:
                    raise _failed(tag, said, pins)
        return made

    def _network(self) -> str | None:
        """Return the network to build on: an engine without its bridge, as .ci/engine starts one, has the host's."""
        named = os.environ.get(NETWORK_SETTING)
        return named or (None if self._client.api.networks(filters={"name": "^bridge$"}) else "host")

    def _base(self) -> str:
        name = os.environ.get(BASE_SETTING) or self._default_base()
        if self._id(name):
            return name
        self._say(f"pulling the base image {name}")
        repository, _, digest = name.partition("@")
        try:
            if digest:
                self._client.images.pull(f"{repository.rpartition(':')[0] or repository}@{digest}")
            else:
                self._client.images.pull(name)
        except (docker.errors.DockerException, OSError) as silence:
            raise Surroundings(
                f"the base image {name} is not there and cannot be pulled ({silence}); where no registry can be "
                f"reached, .ci/base-image builds one: then set {BASE_SETTING} to its name"
            ) from None
        return name

    def _default_base(self) -> str:
        for path in sorted(self._home.glob("*/Dockerfile")):
            found = _BASE_LINE.search(path.read_text())
            if found:
                return found[1]
        raise Misuse(f"no Dockerfile in {self._home} has a line 'ARG BASE=...'; set {BASE_SETTING}")

    def _id(self, name: str) -> str | None:
        with asking(f"look for the image {name}"):
            try:
                return self._client.images.get(name).id
            except docker.errors.ImageNotFound:
                return None


def _settings() -> dict[str, bytes]:
    """Return pip's and Go's settings of this environment and its bundle of certificates, for stages that install."""
    lines = ["[global]"]
    for name in _PIP_SETTINGS:
        value = os.environ.get(f"PIP_{name.upper().replace('-', '_')}")
        if value:
            lines.append(f"{name} = {value}")
    files = {}
    setting = next((name for name in _BUNDLES if os.environ.get(name)), None)
    if setting is not None:
        bundle = os.environ[setting]
        try:
            files["ca.pem"] = Path(bundle).read_bytes()
        except OSError as wrong:
            raise Misuse(f"{setting} is {bundle!r} ({wrong.strerror}); expected a file of certificates") from None
        lines.append("cert = /build/ca.pem")
    go = "".join(f"{name}={os.environ[name]}\n" for name in _GO_SETTINGS if os.environ.get(name))
    return files | {"pip.conf": "\n".join((*lines, "")).encode(), "go.env": go.encode()}


def _failed(tag: str, said: Sequence[str], pins: str) -> OwnframeError:
    text = "\n".join(f"  | {x.rstrip()}" for x in said if x.strip() and "\r" not in x).splitlines()[-_LINES:]
    log = "\n".join(text)
    if "no space left on device" in log.lower():
        return Surroundings(
            f"the engine's disk is full: the image {tag} does not build; free some space. Its last lines:\n{log}"
        )
    if pins and no_wheel("\n".join(said)):
        return CannotRunHere(
            f"cannot run here: the image {tag} needs {', '.join(pins.split())}, of which there is no wheel for the "
            f"base image's Python; {BASE_SETTING} chooses another base. Its last lines:\n{log}"
        )
    return Surroundings(
        f"the image {tag} does not build; where an index is reached through a proxy or with certificates of its own, "
        f"set {CA_SETTING} or {NETWORK_SETTING} (docs/docker.md). Its last lines:\n{log}"
    )


def _tar(files: dict[str, bytes]) -> io.BytesIO:
    """Return a tar archive whose bytes depend on the files alone, so that the engine's own cache finds its layers."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, content in sorted(files.items()):
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            entry.mode = 0o755 if path == "toxiproxy-server" else 0o644
            tar.addfile(entry, io.BytesIO(content))
    archive.seek(0)
    return archive
