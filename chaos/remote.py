"""The home system's handles outside every faulted link: what an owner's hand, an installer and an operator do.

This is the contract that a home system offers the harness over HTTP, on each node's ``operator`` port; it is described
in ``docs/reference-home.md``. Every answer is checked; a silence or a refusal becomes `Surroundings` that names the
node.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, TypeVar

import msgspec
import urllib3

from chaos.errors import Surroundings

_T = TypeVar("_T")
_PATIENCE = urllib3.Timeout(connect=2.0, read=10.0)
AskState: TypeAlias = Literal["open", "picture", "unavailable", "closed"]


class Entry(msgspec.Struct, frozen=True):
    """One line of a hub's screen journal: a raster with the seconds (monotonic) between which it was on screen."""

    seq: int
    since: float = msgspec.field(name="from")
    until: float | None
    raster: str
    width: int
    height: int


class _Journal(msgspec.Struct):
    next: int
    entries: list[Entry]


class _Taken(msgspec.Struct):
    ask: int


class _State(msgspec.Struct):
    state: AskState


class Refused(Exception):  # noqa: N818 - an answer, not an error: the caller decides
    """A node answered with a status that the caller may expect, such as a sign-in that its network did not allow."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status


class Remote:
    """One node's operator port. Threads may share it."""

    def __init__(self, node: str, address: str) -> None:
        self.node = node
        self._base = f"http://{address}"
        self._http = urllib3.PoolManager(maxsize=8, timeout=_PATIENCE, retries=False)

    def close(self) -> None:
        """Drop the kept connections."""
        self._http.clear()

    def get(self, path: str, headers: dict[str, str] | None = None) -> bytes:
        """Return the body of a 200 answer."""
        return self._call("GET", path, headers=headers)

    def post(self, path: str, body: object = None) -> bytes:
        """Send `body` as JSON and return the body of a 200 answer."""
        return self._call("POST", path, body=msgspec.json.encode(body if body is not None else {}))

    def ready(self) -> str | None:
        """Return None when the node says that it is ready, else what it said instead."""
        try:
            self.get("/healthz")
        except Refused as refused:
            return f"answered {refused}"
        except Surroundings as silence:
            return str(silence)
        return None

    def answers(self) -> str | None:
        """Return None when the node answers at all, ready or not, else what happened instead.

        A relay whose cache is behind a black hole is up, and says itself that it is not ready.
        """
        try:
            self.get("/healthz")
        except Refused:
            return None
        except Surroundings as silence:
            return str(silence)
        return None

    def _call(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> bytes:
        try:
            answer = self._http.request(
                method,
                self._base + path,
                body=body,
                headers={"Content-Type": "application/json", **(headers or {})},
            )
        except urllib3.exceptions.HTTPError as silence:
            raise Surroundings(f"{self.node} did not answer {method} {path}: {silence}") from silence
        if answer.status >= 300:
            raise Refused(answer.status, answer.data.decode(errors="replace")[:300])
        return answer.data


class HubRemote(Remote):
    """What a person in front of a hub can do, and the screen's journal."""

    def sign_in(self, owner: str, password: str) -> None:
        """Change the account; returns once the hub confirmed it. Raises `Refused` when its network did not let it."""
        self.post("/control/sign-in", {"owner": owner, "password": password})

    def ask(self, camera: str, feed: str) -> int:
        """Summon a camera; returns the hub's number of the ask as soon as it was taken."""
        return _read(self, self.post("/control/ask", {"camera": camera, "feed": feed}), _Taken).ask

    def say(self, said: str, feed: str) -> int:
        """Let the person in front of the hub say something to its assistant; returns as `ask` does."""
        return _read(self, self.post("/control/say", {"said": said, "feed": feed}), _Taken).ask

    def wait_settled(self, ask: int, seconds: float) -> AskState:
        """Wait up to `seconds` until the ask left ``open``; returns the state it is in then."""
        return _read(self, self.get(f"/control/asks/{ask}?wait={seconds:.3f}"), _State).state

    def close_feed(self) -> None:
        """Close the feed as a person does; returns once the hub says that its screen is blank."""
        self.post("/control/close")

    def journal(self, since: int) -> tuple[int, list[Entry]]:
        """Return the number to ask from next time, and every entry from `since` on."""
        journal = _read(self, self.get(f"/control/screen?since={since}"), _Journal)
        return journal.next, journal.entries

    def raster(self, digest: str) -> bytes:
        """Return the RGB24 bytes of a raster."""
        return self.get(f"/control/raster/{digest}")

    def forget(self, before: int) -> None:
        """Let the hub drop the rasters of entries before that number."""
        self.post(f"/control/forget?before={before}")


def _read(remote: Remote, data: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as wrong:
        raise Surroundings(
            f"{remote.node} answered what the contract does not allow: {wrong}: {data[:200]!r}"
        ) from wrong
