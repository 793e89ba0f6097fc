"""What the labels of a compose file say: roles, owners, hops, lenses, displays, and how a person asks.

Every label begins with ``ownframe.``; `LABELS` has all of them. An unknown one is an error, since a misspelt label
would silently be none.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

import msgspec

from chaos.errors import Misuse, nearest
from chaos.topology import Role

PREFIX = "ownframe."
LABELS = {
    "role": "camera, hub, relay, accounts, cache or other; other is the default",
    "owner": "whose camera or hub it is, by a name of your choice that scenarios use, such as ada",
    "dials": "whom it dials, as SERVICE:PORT with commas between; empty: nobody. Without it: `depends_on` and `links`",
    "lens": "camera: what it films from; env:NAME, or the address or path as your file has it",
    "lens.serves": "camera: mjpeg, still, rtsp or file, where `lens` does not say it",
    "picture": "camera: where a still of it is had past every link, :PORT/PATH",
    "display": "hub: where its screen is seen, http://:PORT/PATH (a picture or MJPEG), operator:PORT, chromium::PORT, "
    "stream:rtsp://:PORT/PATH or folder:PATH",
    "ask": "hub: look, always, or a request such as POST :PORT/PATH; {owner} and {camera} are filled in",
    "close": "hub: the request that closes the feed, where `ask` is one",
    "sign-in": "hub: the request that changes its account; without it accounts are not changed",
    "password": "hub on operator:PORT: the password of its owner's account; password-of-{owner} if not given",
    "patience": "hub: seconds that an ask is waited for",
    "forget": "any: a command that empties what it keeps, run in it before each case; or `restart`",
}
_ONLY_ON = {
    **dict.fromkeys(("lens", "lens.serves", "picture"), "camera"),
    **dict.fromkeys(("display", "ask", "close", "sign-in", "password", "patience"), "hub"),
}
Serves: TypeAlias = Literal["mjpeg", "still", "rtsp", "file"]
PATIENCE = 3.0


class Request(msgspec.Struct, frozen=True):
    """An HTTP request to a port of the service itself, past every link; a body is JSON if it begins with a brace."""

    method: str
    port: int
    path: str
    body: str = ""


class Screen(msgspec.Struct, frozen=True):
    """Where a hub's screen is seen: ``http`` (a picture or MJPEG at a path), ``operator`` (that contract), ``watched``.

    The path of a watched one is words of ``docs/displays.md``, with ``{address}`` where the hub's port is; 0: no port.
    """

    kind: Literal["http", "operator", "watched"]
    port: int
    path: str = "/"


class Labels(msgspec.Struct, frozen=True):
    """What the labels of one service say. `dials` is None where they say nothing of it."""

    role: Role = "other"
    owner: str | None = None
    dials: tuple[tuple[str, int], ...] | None = None
    lens: str = ""
    serves: Serves | None = None
    picture: Request | None = None
    screen: Screen | None = None
    ask: Literal["look", "always"] | Request = "look"
    close: Request | None = None
    sign_in: Request | None = None
    password: str = "password-of-{owner}"  # noqa: S105 - the reference home's
    patience: float = PATIENCE
    forget: tuple[str, ...] = ()


def labels(service: str, given: Mapping[str, str]) -> Labels | None:
    """Return what a service's labels say, None when it has none of ours. Raises `Misuse` with what one lacks."""
    ours = {k.removeprefix(PREFIX): v.strip() for k, v in given.items() if k.startswith(PREFIX)}
    if not ours:
        return None
    for name in ours:
        if name not in LABELS:
            raise Misuse(f"{service} has a label {PREFIX + name!r}{nearest(name, list(LABELS))}")
    return _Reader(service, ours).labels()


class _Reader:
    def __init__(self, service: str, given: Mapping[str, str]) -> None:
        self._service = service
        self._given = given

    def labels(self) -> Labels:
        given = self._given
        found = Labels(
            role=self._one_of("role", get_args(Role), "other"),  # type: ignore[arg-type]
            owner=self._owner(),
            dials=self._dials() if "dials" in given else None,
            lens=given.get("lens", ""),
            serves=self._one_of("lens.serves", get_args(Serves), None),  # type: ignore[arg-type]
            picture=self._picture(),
            screen=self._screen() if "display" in given else None,
            ask=self._ask(),
            close=self._request("close"),
            sign_in=self._request("sign-in"),
            password=given.get("password", Labels.__struct_defaults__[Labels.__struct_fields__.index("password")]),
            patience=self._patience(),
            forget=self._forget(),
        )
        for name, role in _ONLY_ON.items():
            if name in given and found.role != role:
                raise self._wrong(name, f"a label for a {role}, and this is a {found.role}", f"{PREFIX}role: {role}")
        return found

    def _wrong(self, name: str, seen: str, expected: str) -> Misuse:
        return Misuse(f"{self._service}: {PREFIX}{name} is {seen}; expected {expected}")

    def _one_of(self, name: str, known: tuple[str, ...], default: str | None) -> str | None:
        value = self._given.get(name, default)
        if value is not None and value not in known:
            raise self._wrong(name, repr(value), f"one of {', '.join(known)}{nearest(value, known)}")
        return value

    def _owner(self) -> str | None:
        owner = self._given.get("owner")
        if owner is not None and not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", owner):
            raise self._wrong("owner", repr(owner), "lower-case letters, digits and '-', a letter first")
        return owner

    def _dials(self) -> tuple[tuple[str, int], ...]:
        found = []
        for one in filter(None, (part.strip() for part in self._given["dials"].split(","))):
            match = re.fullmatch(r"([\w.-]+):(\d{1,5})(?:/tcp)?", one)
            if match is None or not 0 < int(match[2]) < 65536:
                hint = "; UDP does not pass Toxiproxy, so that it cannot be a link" if one.endswith("/udp") else ""
                raise self._wrong("dials", f"{one!r} among others", f"SERVICE:PORT, such as relay:8080{hint}")
            found.append((match[1], int(match[2])))
        return tuple(dict.fromkeys(found))

    def _request(self, name: str, default: str = "POST") -> Request | None:
        value = self._given.get(name)
        if value is None:
            return None
        match = re.fullmatch(r"(?:([A-Z]+)\s+)?(?:http://)?:(\d{1,5})(/\S*)?(?:\s+(.+))?", value, re.DOTALL)
        if match is None:
            raise self._wrong(
                name, repr(value), 'a request to a port of its own, such as POST :8080/show {"camera": "{camera}"}'
            )
        return Request(match[1] or default, int(match[2]), match[3] or "/", match[4] or "")

    def _picture(self) -> Request | None:
        request = self._request("picture", "GET")
        if request is not None and request.method != "GET":
            raise self._wrong("picture", request.method, ":PORT/PATH, such as :8080/still.jpg")
        return request

    def _screen(self) -> Screen:
        value = self._given["display"]
        if match := re.fullmatch(r"operator:(\d{1,5})", value):
            return Screen("operator", int(match[1]), "")
        if match := re.fullmatch(r"http://:(\d{1,5})(/\S*)?", value):
            return Screen("http", int(match[1]), match[2] or "/")
        if re.match(r"(?:chromium|stream|folder):.", value):
            return self._watched(value)
        raise self._wrong("display", repr(value), f"{LABELS['display'].partition(', ')[2]} on the hub itself")

    def _watched(self, value: str) -> Screen:
        if self._given.get("ask", "look") == "look":
            raise self._wrong(
                "display", f"{value!r}, which is seen whoever looks", f"{PREFIX}ask with always, or with a request"
            )
        found = re.search(r"(?<=:):(\d{1,5})|(?<=//):(\d{1,5})", value.partition("#")[0])
        if found is None:
            return Screen("watched", 0, value)
        return Screen("watched", int(found[1] or found[2]), value[: found.start()] + "{address}" + value[found.end() :])

    def _ask(self) -> Literal["look", "always"] | Request:
        value = self._given.get("ask", "look")
        if value in ("look", "always"):
            return value  # type: ignore[return-value]
        request = self._request("ask")
        assert request is not None, "the label is there"
        if "close" not in self._given:
            raise self._wrong(
                "ask", "a request, and nothing closes the feed", f"{PREFIX}close with the request that does"
            )
        return request

    def _patience(self) -> float:
        value = self._given.get("patience", str(PATIENCE))
        try:
            seconds = float(value.removesuffix("s"))
        except ValueError:
            seconds = 0.0
        if not 0.1 <= seconds <= 60:
            raise self._wrong("patience", repr(value), "seconds between 0.1 and 60")
        return seconds

    def _forget(self) -> tuple[str, ...]:
        try:
            return tuple(shlex.split(self._given.get("forget", "")))
        except ValueError as wrong:
            raise self._wrong("forget", f"no command ({wrong})", "words as a shell takes them") from None
