"""Where a picture turned foreign: from what each hop carried to the node that mixed it up. Pure; it knows no update.

From the hub backwards. The node that answered the hub's request with a stranger's picture is looked at: was it told
wrong itself, by an answer that it got for this request, which shows or names the stranger though nobody asked for the
stranger? Then whoever gave that answer is looked at in the same way; else it turned foreign here. The rules:

1. An exchange belongs to a request when it fell into its time, unless it repeats something that only another request
   has, such as that one's id or its token.
2. Who asks for the stranger gets the stranger: by name, by a token that was given out together with that name, or by
   dialling the stranger's own camera. Such an answer is right, and the question is why it was asked.
3. What a store answers is what was put there, unless it is seen to have been put under another key.
4. What cannot be read, encrypted or not captured, is said; nothing is said of what may have happened there.

A hub that asks with a stranger's token is answered rightly, so that who gave it the token is looked at; and what was
revoked was right before, so that whoever goes on handing it out is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from chaos import rtp
from chaos.exchanges import Exchange, Message, Picture, Talk, talks
from chaos.fates import Half
from chaos.history import Reading, Sighting
from chaos.streams import Taken, connections
from chaos.topology import Link, Topology
from chaos.verdict import Judged, Verdict

_SLACK = 0.005
"""Seconds by which what the kernel notes and what a program does may be told in another order."""
_PAINTED = 0.05
"""Seconds after a raster's beginning within which the bytes that it shows may still be noted."""
_TOKEN = re.compile(r"[A-Za-z0-9_\-+/=.]{6,200}")
_GIVEN = re.compile(r"(?!\d{4}-\d\d-\d\dT)(?=[^\s]*\d)(?=[^\s]*[A-Za-z])[A-Za-z0-9_\-+/=.]{12,200}")
_COMMON = frozenset(
    ("accept", "accept-encoding", "accept-language", "connection", "content-length", "content-type", "date", "server",
     "host", "user-agent", "transfer-encoding", "cache-control")
)  # fmt: skip
_LINE = 60

Read = Callable[[bytes], Reading]


class Hop(msgspec.Struct, frozen=True):
    """An exchange that tells something: on which half of a link, which packets, what was asked and what it carried."""

    link: str
    half: Half
    request: str
    asked_in: int
    carried: str
    packet: int | None = None
    right: bool = True


class Whence(msgspec.Struct, frozen=True):
    """Where a picture turned foreign, as a `sentence`; `hops` say by what, the hub's first.

    `nodes` has the node in which it did; several when it cannot be told between them, none when nothing can be said.
    `opaque` are hops that could not be read, with the reason.
    """

    sentence: str
    nodes: tuple[str, ...]
    hops: tuple[Hop, ...] = ()
    opaque: tuple[tuple[str, str], ...] = ()

    @property
    def node(self) -> str | None:
        """The one node that it is, or None."""
        return self.nodes[0] if len(self.nodes) == 1 else None


def whence(leak: Judged, topology: Topology, packets: Iterable[Taken], read: Read, *, whole: bool = True) -> Whence:
    """Return where the picture of `leak` turned foreign, from the packets of its case.

    `read` says whom an encoded picture shows; `whole` whether every packet of the case is there.
    """
    packets = list(packets)
    streams = connections(packets)
    told = rtp.parameters(streams)
    known = {k.name: told.get(topology.beside(k).name, ()) for k in topology.links}
    said = talks(streams) | rtp.talks((p for p in packets if p.link in topology.datagrams), known)
    return _Search(leak, topology, said, read, whole=whole).run()


class _Search:
    """What is known of one leak while it is followed back."""

    def __init__(
        self,
        leak: Judged,
        topology: Topology,
        said: Mapping[tuple[str, Half], Talk],
        read: Read,
        *,
        whole: bool,
    ) -> None:
        assert leak.guilty is not None, "a leak names somebody"
        self._leak = leak
        self._guilty: Sighting = leak.guilty
        self._topology = topology
        self._said = said
        self._read = read
        self._whole = whole
        self._readings: dict[bytes, tuple[Sighting, ...]] = {}
        self._owners = topology.owners
        self._names = {o: re.compile(rf"(?<![A-Za-z0-9]){re.escape(o)}(?![A-Za-z0-9])") for o in self._owners}
        self._given: dict[str, str] | None = None
        self._hops: list[Hop] = []
        self._opaque: list[tuple[str, str]] = []

    # What was displayed.

    @property
    def _whose(self) -> str:
        return f"{self._guilty.owner}'s picture"

    def run(self) -> Whence:
        hub = self._hub()
        links = [k for k in self._topology.links if k.client == hub]
        since = self._leak.ask.began - _SLACK if self._leak.ask is not None else 0.0
        until = self._leak.frame.at + _PAINTED
        shown = [
            (e, p)
            for k in links
            for e in self._talk(k.name, "client").exchanges
            for p in (e.answer.pictures if e.answer is not None else ())
            if p.at <= until and self._holds(p)
        ]
        now = [(e, p) for e, p in shown if e.request.began >= since]
        if now:
            exchange, picture = max(now, key=lambda each: (self._is_the_one(each[1]), each[1].at))
            return self._answered(exchange, picture)
        unread = [(k.name, why) for k in links if (why := self._unread(k.name, "client", until)) is not None]
        if unread:
            self._opaque += unread
            return self._word(f"It cannot be said where it turned foreign: {_listed(unread)}.", ())
        if not links:
            return self._word(f"It cannot be said where it turned foreign: {hub} dials nobody.", ())
        if not self._whole:
            return self._word(
                "It cannot be said where it turned foreign: not every packet of the case was kept, and none of those "
                f"that were brought {self._whose} to {self._called(hub)} since it was asked.",
                (),
            )
        return self._kept(hub, shown)

    def _kept(self, hub: str, shown: Sequence[tuple[Exchange, Picture]]) -> Whence:
        """No answer since the ask brought it: the hub itself had it."""
        before = max(shown, key=lambda each: each[1].at, default=None)
        had = "none in this case had"
        if before is not None:
            exchange, picture = before
            self._note(exchange, picture, right=True)
            had = (
                f"it had come before, in answer to {_line(exchange.request)} (packet {picture.first}, {exchange.link})"
            )
        return self._word(
            f"It turned foreign in {self._called(hub)}: nothing that it was answered since it was asked had "
            f"{self._whose}; {had}.",
            (hub,),
        )

    def _answered(self, exchange: Exchange, picture: Picture) -> Whence:
        link = self._link(exchange.link)
        self._note(exchange, picture, right=False)
        far = self._counterpart(exchange)
        answer = far.answer if far is not None else None
        mine = next((p for p in (answer.pictures if answer is not None else ()) if self._holds(p)), None)
        if far is not None and answer is not None and mine is None and not self._unread_at(link.name, "server"):
            return self._word(
                f"It turned foreign on {link.name}: {self._called(link.server)} answered {_line(exchange.request)} "
                f"(packet {answer.first}) with something else, and {self._called(link.client)} was given {self._whose} "
                f"(packet {picture.first}). What is between them is Toxiproxy, and faults that change packets.",
                (f"the link {link.name}",),
            )
        found, client = far or exchange, self._called(link.client)
        given = self._given_to_them(exchange.request)
        if given and self._leak.verdict is not Verdict.REVOKED:
            return self._asked_as_them(link, exchange, picture, given)
        said = (
            f"{self._called(link.server)} answered {_line(exchange.request)} of {client} with {self._whose} (packet "
            f"{picture.first}, {link.name})"
        )
        return self._in(link.server, found, (mine or picture).at, picture, said)

    def _asked_as_them(self, link: Link, exchange: Exchange, picture: Picture, given: set[str]) -> Whence:
        """Return who gave the hub the stranger's token that it asked with, and was answered rightly."""
        told = [
            e
            for k in self._topology.links
            if k.client == link.client
            for e in self._talk(k.name, "client").exchanges
            if e.answer is not None
            and e.answer.began < exchange.request.began
            and given & set(_GIVEN.findall(_gave(e)))
        ]
        hub, token = self._called(link.client), f"a token that was given out to {self._guilty.owner}"
        asked = f"{hub} asked {_line(exchange.request)} (packet {exchange.request.first}, {link.name}) with {token}"
        if not told or self._asks_for_them(told[-1].request):
            return self._word(
                f"It turned foreign in {hub}: {asked}, and was answered with {self._whose} (packet {picture.first}).",
                (link.client,),
            )
        last = told[-1]
        assert last.answer is not None, "chosen so"
        self._note(last, None, right=False, carried=token, packet=last.answer.first)
        server, found = self._link(last.link).server, self._counterpart(last) or last
        said = (
            f"{self._called(server)} answered {_line(last.request)} of {hub} with {token} (packet {last.answer.first}, "
            f"{last.link}); {asked}, and was answered with {self._whose} (packet {picture.first})"
        )
        return self._in(server, found, (found.answer or last.answer).began, None, said)

    # From node to node.

    def _in(self, node: str, answered: Exchange, until: float, picture: Picture | None, said: str) -> Whence:
        """Return what is found of a node that answered wrong, as was `said`; with a `picture`, or with a token."""
        visited = [node]
        while True:
            cause = self._cause(node, answered, until)
            if cause is None:
                break
            told, what, at = cause
            link = self._link(told.link)
            self._note(told, None, right=False, carried=what, packet=at)
            if link.server in visited:
                break
            visited.append(link.server)
            far = self._counterpart(told)
            answered = far or told
            began = answered.answer.began if answered.answer is not None else until
            until, node = min(until, began), link.server
            picture = picture if what == self._whose else None  # how that came is another question
            said += (
                f"; it had been told so by {self._called(node)}, which answered {_line(told.request)} with {what} "
                f"(packet {at}, {told.link})"
            )
        entry = self._entry(node, until, picture) if picture is not None else ""
        unread = [
            (k.name, why)
            for k in self._topology.links
            if k.client == node and self._topology.node(k.server).owner is None
            and (why := self._unread(k.name, "client", until)) is not None
        ]  # fmt: skip
        self._opaque += unread
        if unread:
            nodes = (node, *(self._link(name).server for name, _ in unread))
            named = " or ".join(self._called(n) for n in dict.fromkeys(nodes))
            return self._word(f"It turned foreign in {named}: {said}{entry}. {_listed(unread)}.", nodes)
        return self._word(f"It turned foreign in {self._called(node)}: {said}{entry}.", (node,))

    def _cause(self, node: str, answered: Exchange, until: float) -> tuple[Exchange, str, int] | None:
        """Return the first answer that told `node` wrong for this request, what it said, and in which packet."""
        belongs = self._belonging(node, answered, until)
        for told in belongs:
            link = self._link(told.link)
            answer = told.answer
            if answer is None or answer.began > until or self._topology.node(link.server).owner == self._guilty.owner:
                continue
            wrong = next((p for p in answer.pictures if self._holds(p)), None)
            if self._leak.verdict is Verdict.REVOKED:  # it was theirs: whoever still hands it on is looked at
                if wrong is not None and told.speaks != "Redis":
                    return told, self._whose, wrong.first
                continue
            if self._asks_for_them(told.request):
                continue
            if told.speaks == "Redis":
                if wrong is not None and self._is_misplaced(told, wrong):
                    return told, self._whose, wrong.first
                continue
            if wrong is not None:
                return told, self._whose, wrong.first
            if self._named(answer) == {self._guilty.owner} and self._guilty.owner not in self._leak.owners:
                return told, f"the name {self._guilty.owner}", answer.first
        return None

    def _belonging(self, node: str, answered: Exchange, until: float) -> list[Exchange]:
        """Return what `node` asked others for this request, in order (rule 1)."""
        others = [
            e
            for k in self._topology.links
            if k.server == node
            for e in self._talk(k.name, "server").exchanges or self._talk(k.name, "client").exchanges
        ]
        mine = _tokens(answered.request)
        of_others: set[str] = set().union(*(_tokens(e.request) for e in others if e is not answered))
        found = []
        for link in self._topology.links:
            for told in self._talk(link.name, "client").exchanges if link.client == node else ():
                repeated = _tokens(told.request)
                in_time = answered.request.began - _SLACK <= told.request.began <= until
                if in_time and not repeated & (of_others - mine):
                    found.append(told)
        return sorted(found, key=lambda e: e.request.began)

    def _asks_for_them(self, request: Message) -> bool:
        """Whether a request is for the stranger (rule 2)."""
        return self._guilty.owner in self._named(request) or bool(self._given_to_them(request))

    def _given_to_them(self, request: Message) -> set[str]:
        """Return the tokens of a request that were given out to the stranger."""
        given = self._tokens_given()
        return {t for t in _tokens(request) if given.get(t) == self._guilty.owner}

    def _tokens_given(self) -> Mapping[str, str]:
        """Return whose the tokens are that answers gave out together with one name, or for such a token.

        The first to say so is right.
        """
        if self._given is None:
            self._given = {}
            answered = [e for talk in self._said.values() for e in talk.exchanges if e.answer is not None]
            for each in sorted(answered, key=lambda e: e.answer.began if e.answer is not None else 0.0):
                assert each.answer is not None, "chosen so"
                whose = self._named(each.request) | self._named(each.answer)
                whose = whose or {self._given[t] for t in _tokens(each.request) if t in self._given}
                if len(whose) == 1:
                    (owner,) = whose
                    for token in _GIVEN.findall(_gave(each)):
                        self._given.setdefault(token, owner)
        return self._given

    def _is_misplaced(self, told: Exchange, picture: Picture) -> bool:
        """Whether a store answered with what is seen to have been put under none of the keys asked for (rule 3)."""
        put = self._put(told.link, picture)
        return bool(put) and not any(set(e.request.arguments[1:2]) & set(told.request.arguments[1:]) for e in put)

    def _put(self, link: str, picture: Picture) -> list[Exchange]:
        """Return the exchanges in which this very picture was put into the store at that link's server."""
        server = self._link(link).server
        return [
            e
            for k in self._topology.links
            if k.server == server
            for e in self._talk(k.name, "client").exchanges
            if e.request.began < picture.at and any(p.data == picture.data for p in e.request.pictures)
        ]

    def _entry(self, node: str, until: float, picture: Picture) -> str:
        """Return, as words, how the picture had come to a node."""
        came = [
            (e, p)
            for k in self._topology.links
            if k.client == node
            for e in self._talk(k.name, "client").exchanges
            for p in (e.answer.pictures if e.answer is not None else ())
            if p.at <= until and self._holds(p)
        ]
        if not came:
            if not any(k.client == node for k in self._topology.links):
                return ""
            unread = [
                (k.name, why)
                for k in self._topology.links
                if k.client == node and self._topology.node(k.server).owner is not None
                and (why := self._unread(k.name, "client", until)) is not None
            ]  # fmt: skip
            if unread:
                self._opaque += unread
                return f"; how it had come there is not seen: {_listed(unread)}"
            kept = "" if self._whole else ", as far as packets were kept"
            return f"; nothing that it was answered in this case had it{kept}"
        exchange, found = max(came, key=lambda each: (each[1].data == picture.data, each[1].at))
        self._note(exchange, found, right=True)
        how = "as" if exchange.speaks == rtp.SPEAKS else "in answer to"
        line = f"{how} {_line(exchange.request)}"
        words = f"; {self._whose} had come to it over {exchange.link} (packet {found.first}), {line}"
        put = self._put(exchange.link, found) if exchange.speaks == "Redis" else []
        if put:
            self._note(put[-1], None, right=True, carried=f"put {self._whose} there", packet=put[-1].request.first)
            words += f", where it had been put with {_line(put[-1].request)} (packet {put[-1].request.first})"
        return words

    # What there is.

    def _holds(self, picture: Picture) -> bool:
        """Whether a picture shows what was displayed: the stranger's camera, of the same case and run."""
        g = self._guilty
        return any(
            (s.owner, s.camera, s.case, s.run) == (g.owner, g.camera, g.case, g.run) for s in self._seen(picture)
        )

    def _is_the_one(self, picture: Picture) -> bool:
        """Whether it is of the very frame of the camera that was displayed."""
        return any(s.owner == self._guilty.owner and s.frame == self._guilty.frame for s in self._seen(picture))

    def _seen(self, picture: Picture) -> tuple[Sighting, ...]:
        if picture.data not in self._readings:
            self._readings[picture.data] = self._read(picture.data).sightings
        return self._readings[picture.data]

    def _named(self, message: Message) -> set[str]:
        """Return the owners whom the words of a message name."""
        fields = " ".join(v for k, v in message.fields.items() if k not in _COMMON or k == "host")
        words = f"{message.line} {fields} {message.said}"
        return {o for o, name in self._names.items() if name.search(words)}

    def _counterpart(self, exchange: Exchange) -> Exchange | None:
        """Return the same exchange on the other half of its link."""
        same = [
            e
            for e in self._talk(exchange.link, "server").exchanges
            if (e.request.line, e.request.fields, e.request.said)
            == (exchange.request.line, exchange.request.fields, exchange.request.said)
        ]
        return min(same, key=lambda e: abs(e.request.began - exchange.request.began), default=None)

    def _talk(self, link: str, half: Half) -> Talk:
        return self._said.get((link, half), Talk())

    def _unread_at(self, link: str, half: Half) -> bool:
        return bool(self._talk(link, half).opaque)

    def _unread(self, link: str, half: Half, until: float) -> str | None:
        """Return why what went over a half until then cannot be read, or None when it can.

        From its beginning on: a connection that cannot be read may carry anything as long as it lasts.
        """
        return next((why for began, why in self._talk(link, half).opaque if began <= until), None)

    def _link(self, name: str) -> Link:
        return next(k for k in self._topology.links if k.name == name)

    def _hub(self) -> str:
        return next(n.name for n in self._topology.with_role("hub", self._leak.frame.hub))

    def _called(self, node: str) -> str:
        found = next((n for n in self._topology.nodes if n.name == node), None)
        if found is None or found.owner is None:
            return f"the {node}"
        return f"{found.owner}'s {found.role if found.role != 'other' else node}"

    def _note(
        self,
        exchange: Exchange,
        picture: Picture | None,
        *,
        right: bool,
        carried: str = "",
        packet: int | None = None,
    ) -> None:
        self._hops.append(
            Hop(
                exchange.link,
                exchange.half,
                _line(exchange.request),
                exchange.request.first,
                carried or self._whose,
                packet if picture is None else picture.first,
                right,
            )
        )

    def _word(self, sentence: str, nodes: Iterable[str]) -> Whence:
        return Whence(sentence, tuple(dict.fromkeys(nodes)), tuple(self._hops), tuple(dict.fromkeys(self._opaque)))


def _tokens(request: Message) -> set[str]:
    """Return what a request may repeat of another: words of its fields and of its body."""
    fields = " ".join(v for k, v in request.fields.items() if k not in _COMMON)
    return set(_TOKEN.findall(f"{fields} {request.said}"))


def _gave(exchange: Exchange) -> str:
    """Return the words of an answer in which tokens are given out."""
    return (
        f"{exchange.answer.said} {exchange.answer.fields.get('set-cookie', '')}" if exchange.answer is not None else ""
    )


def _line(request: Message) -> str:
    """Return a request as a person says it: the method and the path, or a command with its key and first field."""
    method, _, rest = request.line.partition(" ")
    if rest.endswith((" HTTP/1.1", " HTTP/1.0")):
        return f"{method} {rest[:-9].partition('?')[0]}"[:_LINE]
    return " ".join(request.line.split()[:3])[:_LINE]


def _listed(unread: Iterable[tuple[str, str]]) -> str:
    return "; ".join(f"{link} is {why}" for link, why in dict.fromkeys(unread))


def described(hop: Hop) -> str:
    """Return one hop as a line."""
    packet = f", packet {hop.packet}" if hop.packet is not None else ""
    return f"{hop.link}, its {hop.half}'s half: {hop.request} (packet {hop.asked_in}): {hop.carried}{packet}"
