"""A street of homes for tests: nodes as processes on direct addresses, and lenses that see one flat colour each."""

from __future__ import annotations

import contextlib
import http.server
import io
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import urllib3
from PIL import Image

DIES_WITH_US = (setpriv, "--pdeathsig", "KILL", "--") if (setpriv := shutil.which("setpriv")) else ()
"""A worker of pytest-xdist that is ended by Ctrl-C tears nothing down."""

HOME = Path(__file__).parents[2] / "scenarios" / "home"
COLOURS = {
    "ada": (220, 30, 30),
    "grace": (30, 200, 30),
    "lin": (40, 60, 230),
    "mary": (220, 220, 30),
    "joan": (30, 210, 210),
    "radia": (210, 40, 210),
    "edith": (240, 140, 30),
    "hedy": (240, 240, 240),
}
OWNERS = tuple(COLOURS)
CAMERA = "living-room"
PATIENCE = 15.0


def wait_until(what: str, holds: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Return the first true answer of `holds`."""
    deadline = time.monotonic() + seconds
    while not (answer := holds()):
        assert time.monotonic() < deadline, f"waited {seconds} s until {what}"
        time.sleep(0.01)  # between two looks at a condition
    return answer


def free_address() -> str:
    """Return an address on loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"127.0.0.1:{taken.getsockname()[1]}"


class Answer:
    """Status, headers and body of an answer."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self.status, self.headers, self.data = response.status, response.headers, response.data

    def json(self) -> Any:
        return json.loads(self.data)


def call(address: str, path: str, body: object = None, method: str | None = None, **headers: str) -> Answer:
    """Ask a node on a connection of its own: a POST when there is a body."""
    http = urllib3.PoolManager(timeout=PATIENCE, retries=False)
    try:
        sent = {k.replace("_", "-"): v for k, v in headers.items()} | {"Connection": "close"}
        data = None if body is None else json.dumps(body).encode()
        verb = method or ("GET" if body is None else "POST")
        return Answer(http.request(verb, f"http://{address}{path}", body=data, headers=sent))
    finally:
        http.clear()


class Node:
    """One process of the home system."""

    def __init__(self, name: str, program: str, log: Path, home: Path = HOME, **environment: str) -> None:
        self.name = name
        self.log_path = log
        self.operator = environment.get("OPERATOR", "")
        self.listen = environment.get("LISTEN", "")
        with log.open("ab") as stderr:
            self.process = subprocess.Popen(
                [*DIES_WITH_US, sys.executable, program],
                cwd=home,
                env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"} | environment,
                stdin=subprocess.DEVNULL,
                stderr=stderr,
                stdout=stderr,
            )

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def wait_ready(self) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, f"{self.name} ended: {self.log}"
            try:
                if self.operator:
                    return call(self.operator, "/healthz").status == 200
                host, _, port = self.listen.partition(":")
                socket.create_connection((host, int(port)), 1).close()
            except (urllib3.exceptions.HTTPError, OSError):
                return False
            return True

        wait_until(f"{self.name} is ready", ready, 60.0)  # a street of nineteen starts at once

    def end(self) -> int:
        self.process.terminate()
        try:
            return self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
            raise


class Lenses:
    """Serves each owner's scene: one flat colour. `silent` lenses never answer."""

    def __init__(self) -> None:
        self.pictures = {owner: flat(colour) for owner, colour in COLOURS.items()}
        self.silent: set[str] = set()
        self.asked: dict[str, int] = dict.fromkeys(OWNERS, 0)
        lenses = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                owner = self.path.split("/")[2]
                lenses.asked[owner] += 1
                if owner in lenses.silent:
                    wait_until("the lens may speak", lambda: owner not in lenses.silent)
                picture = lenses.pictures[owner]
                self.send_response(200)
                self.send_header("Content-Length", str(len(picture)))
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(picture)

            def log_message(self, *_: object) -> None: ...

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.silent.clear()
        self._server.shutdown()
        self._server.server_close()


def flat(colour: tuple[int, int, int], size: tuple[int, int] = (1920, 1080)) -> bytes:
    """Return a JPEG of one colour."""
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "JPEG", quality=90)
    return out.getvalue()


def owner_of(picture: Image.Image) -> str | None:
    """Return whose colour is in the middle of a picture, or None for nobody's."""
    seen = picture.convert("RGB").getpixel((picture.width // 2, picture.height // 2))
    for owner, colour in COLOURS.items():
        if all(abs(a - b) <= 12 for a, b in zip(seen, colour, strict=True)):
            return owner
    return None


class Street:
    """Eight homes on one relay, provisioned."""

    def __init__(self, folder: Path, home: Path = HOME, owners: tuple[str, ...] = OWNERS) -> None:
        self.folder, self.home, self.owners = folder, home, owners
        self.nodes: list[Node] = []
        self._logs = itertools.count()
        self.lenses = Lenses()
        self.cache = self.start("cache", "cache/run.py", LISTEN=free_address())
        self.accounts = self.start("accounts", "accounts/app.py", LISTEN=free_address(), OPERATOR=free_address())
        self.cameras = {owner: self.camera(owner) for owner in owners}
        self.relay = self.another_relay()
        self.hubs = {o: Hub(self.start(f"{o}.hub", "hub/app.py", **hub_of(self.relay))) for o in owners}

    def camera(self, owner: str, **settings: str) -> Node:
        lens = f"http://{self.lenses.address}/lens/{owner}/{CAMERA}"
        where = {"LISTEN": free_address(), "OPERATOR": free_address(), "LENS": lens, "DEVICE_SECRET": f"of-{owner}"}
        return self.start(f"{owner}.camera", "camera/app.py", **where | settings)

    def another_relay(self, home: Path | None = None, **settings: str) -> Node:
        """Start a relay beside the street's own, with other settings or sources."""
        where = {
            "LISTEN": free_address(),
            "OPERATOR": free_address(),
            "CACHE_URL": f"redis://{self.cache.listen}/0",
            "ACCOUNTS_URL": f"http://{self.accounts.listen}",
        }
        return self.start("relay", "relay/app.py", home, **where | settings)

    def start(self, name: str, program: str, home: Path | None = None, **environment: str) -> Node:
        log = self.folder / f"{next(self._logs)}-{name}.log"
        node = Node(name, program, log, home or self.home, **environment)
        self.nodes.append(node)
        return node

    def wait_ready(self) -> None:
        for node in self.nodes:
            node.wait_ready()

    def provision(self) -> None:
        """Give each owner an account with a living room; ada has a nursery too, for which there is no device."""
        accounts = [{"owner": o, "password": f"pw-{o}", "cameras": [CAMERA]} for o in self.owners]
        accounts[0]["cameras"] = [CAMERA, "nursery"]
        assert call(self.accounts.operator, "/operator/provision", {"accounts": accounts}).status == 200
        assert call(self.relay.operator, "/operator/flush", {}).status == 200
        self.devices({o: self.cameras[o].listen for o in self.owners})

    def devices(self, addresses: dict[str, str], relay: Node | None = None) -> None:
        described = [
            {"owner": o, "camera": CAMERA, "url": f"http://{a}", "secret": f"of-{o}"} for o, a in addresses.items()
        ]
        relay = relay or self.relay
        assert call(relay.operator, "/operator/provision", {"devices": described}).status == 200

    def token(self, owner: str) -> str:
        answer = call(self.accounts.listen, "/login", {"owner": owner, "password": f"pw-{owner}"})
        return str(answer.json()["token"])

    def still(self, token: str, relay: Node | None = None, camera: str = CAMERA, width: int = 1024) -> Answer:
        path = f"/v1/cameras/{camera}/still?width={width}"
        return call((relay or self.relay).listen, path, Authorization=f"Bearer {token}")

    def end(self) -> None:
        self.lenses.close()
        for node in self.nodes:
            if node.process.poll() is None:
                node.process.kill()
                node.process.wait(5)


def hub_of(relay: Node | None = None, address: str = "", **settings: str) -> dict[str, str]:
    where = {"OPERATOR": free_address(), "RELAY_URL": f"http://{relay.listen if relay else address}"}
    return where | ({} if relay else {"LEASE": "0"}) | settings  # a relay that is played knows of no leases


class Hub:
    """What a person does in front of a hub, and what stood on its screen."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def post(self, path: str, body: object = None) -> Answer:
        return call(self.node.operator, f"/control/{path}", body or {})

    def sign_in(self, owner: str, password: str | None = None) -> Answer:
        return self.post("sign-in", {"owner": owner, "password": password or f"pw-{owner}"})

    def ask(self, feed: str = "still", camera: str = CAMERA) -> int:
        return int(self.post("ask", {"camera": camera, "feed": feed}).json()["ask"])

    def settled(self, ask: int, wait: float = PATIENCE) -> str:
        return str(call(self.node.operator, f"/control/asks/{ask}?wait={wait}").json()["state"])

    def journal(self, since: int = 0) -> list[dict[str, Any]]:
        return list(call(self.node.operator, f"/control/screen?since={since}").json()["entries"])

    def raster(self, digest: str) -> Image.Image:
        return Image.frombytes("RGB", (1024, 600), call(self.node.operator, f"/control/raster/{digest}").data)

    def screen(self) -> Image.Image:
        return self.raster(self.journal()[-1]["raster"])


class Script:
    """A server whose every connection is handled by `talk`, on a thread of its own: for peers that misbehave."""

    def __init__(self, talk: Callable[[socket.socket], None]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self._talk = talk
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(peer)
            threading.Thread(target=self._handle, args=(peer,), daemon=True).start()

    def _handle(self, peer: socket.socket) -> None:
        with contextlib.suppress(OSError), peer:
            self._talk(peer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for peer in self._open:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)


def mute(peer: socket.socket) -> None:
    """Take everything, say nothing."""
    while peer.recv(65536):
        pass


def read_request(peer: socket.socket) -> bytes:
    """Return the head of an HTTP request, after its body was read too."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = peer.recv(65536)
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    while len(body) < length:
        body += peer.recv(65536)
    return head


@contextlib.contextmanager
def delayed(address: str, seconds: Callable[[], float]) -> Iterator[str]:
    """Forward to `address`; what comes back is held for `seconds()` first."""
    host, _, port = address.partition(":")

    def talk(peer: socket.socket) -> None:
        with socket.create_connection((host, int(port))) as far:

            def back() -> None:
                with contextlib.suppress(OSError):
                    while data := far.recv(1 << 20):
                        threading.Event().wait(seconds())
                        peer.sendall(data)

            threading.Thread(target=back, daemon=True).start()
            with contextlib.suppress(OSError):
                while data := peer.recv(1 << 20):
                    far.sendall(data)

    with Script(talk) as script:
        yield script.address
