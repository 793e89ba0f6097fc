"""Pictures in RTP: whole ones that need no other are cut out with their packets, whatever order these came in."""

from __future__ import annotations

import base64
import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from chaos import media, rtp
from chaos.contracts.reference import topology_of
from chaos.streams import connections
from chaos.whence import whence

from .conversations import Conversation, get, ok, picture
from .makers import OWNERS
from .test_whence import asks, leak, read

HOME = topology_of(OWNERS, None, {"camera": "mediamtx"})
LINK, PORT = "lin.camera.rtp", 6970
SETS = (b"\x67\x42sps", b"\x68pps")
KEY, OTHER = 0x65, 0x41
AT_ONCE = 1000
"""Bytes of a part that one packet has."""


def packet(sequence, time, data, *, source=1, padding=b"", extension=False, sources=0):
    first = 0x80 | (0x20 if padding else 0) | (0x10 if extension else 0) | sources
    more = bytes(4 * sources) + (struct.pack(">HH4s", 0xBEDE, 1, b"more") if extension else b"")
    return struct.pack(">BBHII", first, 96, sequence % 65536, time, source) + more + data + padding


def cut(part):
    """Return what the packets of one part of a picture carry: itself, or pieces (FU-A)."""
    if len(part) <= AT_ONCE:
        return [part]
    pieces = [part[i : i + AT_ONCE] for i in range(1, len(part), AT_ONCE)]
    marks = [0x80, *[0] * (len(pieces) - 2), 0x40]
    return [bytes([part[0] & 0xE0 | 28, mark | part[0] & 31]) + p for mark, p in zip(marks, pieces, strict=True)]


class Film:
    """What a camera sends."""

    def __init__(self, first=65_530, source=1):
        self.next, self.source, self.time = first, source, 0

    def picture(self, *parts):
        """Return the packets of a picture of these parts."""
        self.time += 18_000
        carried = [piece for part in parts for piece in cut(part)]
        self.next += len(carried)
        begins = self.next - len(carried)
        return [packet(begins + i, self.time, data, source=self.source) for i, data in enumerate(carried)]


def sent(*packets, link=LINK, port=PORT):
    talk = Conversation(HOME)
    for i, each in enumerate(packets):
        talk.send(link, port, each, 1 + i / 1000)
    return talk.packets


def talk_of(packets, half="client", known=SETS):
    return rtp.talks(packets, {LINK: known})[LINK, half]


def pictures(packets, **how):
    return [p.data for e in talk_of(packets, **how).exchanges for p in e.answer.pictures]


def whole(*parts, sets=SETS):
    return b"".join(rtp.START + part for part in (*sets, *parts))


SLICE = bytes([KEY]) + bytes(range(256)) * 12


def test_a_picture_in_many_packets_is_cut_out_with_the_first_and_the_last_of_them():
    film = Film()
    before, wanted = (
        film.picture(bytes([OTHER]) + b"only a change"),
        film.picture(SLICE, bytes([KEY]) + b"second slice"),
    )
    packets = sent(*before, *wanted)
    talk = talk_of(packets)
    (exchange,) = talk.exchanges
    (found,) = exchange.answer.pictures
    assert found.data == whole(SLICE, bytes([KEY]) + b"second slice")
    mine = [p for p in packets if p.half == "client"]
    assert (found.first, found.last) == (mine[1].number, mine[-1].number)
    assert found.at == mine[1].at
    assert exchange.request.line.startswith("video to 10.1.")
    assert exchange.request.line.endswith(":6970")
    assert talk.opaque == ()
    assert pictures(packets, half="server") == [found.data]


def test_order_and_repetition_do_not_matter_and_numbers_begin_again():
    film = Film(first=65_534)
    first, second = film.picture(SLICE), film.picture(SLICE[:-1] + b"!")
    assert len(first) == 4
    mixed = [first[1], first[0], first[1], first[3], second[0], first[2], *reversed(second[1:])]
    assert pictures(sent(*mixed)) == [whole(SLICE), whole(SLICE[:-1] + b"!")]


def test_a_picture_with_a_hole_is_passed_over_and_what_could_not_be_read_is_said():
    film = Film()
    torn, good = film.picture(SLICE), film.picture(SLICE)
    assert pictures(sent(*torn[:1], *torn[2:], *good)) == [whole(SLICE)]
    talk = talk_of(sent(*torn[:1], *torn[2:]))
    assert (talk.exchanges, [why for _, why in talk.opaque]) == ((), ["RTP in which no picture of H.264 is found"])


def test_parts_that_come_together_and_sets_in_the_video_itself():
    sets = (b"\x67\x42other", b"\x68other")
    together = bytes([24]) + b"".join(struct.pack(">H", len(p)) + p for p in (*sets, bytes([KEY]) + b"small"))
    film = Film()
    assert pictures(sent(*film.picture(together)), known=()) == [whole(bytes([KEY]) + b"small", sets=sets)]
    assert pictures(sent(*Film().picture(SLICE)), known=()) == [], "nothing is known of it"


def test_headers_may_be_longer():
    data = bytes([KEY]) + b"small"
    plain, more = packet(1, 5, data), packet(2, 6, data, extension=True, sources=2, padding=b"\0\0\3")
    assert pictures(sent(plain, more)) == [whole(data)] * 2


def test_two_sources_at_one_port_are_told_apart():
    """As where the next owner's player has the port of the one before."""
    old, new = Film(first=10), Film(first=900, source=2)
    mixed = [p for pair in zip(old.picture(SLICE), new.picture(SLICE[:-1] + b"!"), strict=True) for p in pair]
    assert sorted(pictures(sent(*mixed))) == sorted([whole(SLICE), whole(SLICE[:-1] + b"!")])


@pytest.mark.parametrize("data", [b"", b"\x80", bytes(40), b"\x80\x60" + bytes(10), b"\xbf\x60" + b"\xff" * 10])
def test_whatever_else_comes_is_no_picture_and_breaks_nothing(data):
    talk = talk_of(sent(data))
    assert talk.exchanges == ()


def test_reports_are_neither_pictures_nor_unread():
    talk = talk_of(sent(b"\x80\xc8\0\6" + bytes(24)))
    assert (talk.exchanges, talk.opaque) == ((), ())
    talk = Conversation(HOME)
    talk.send(LINK, PORT, b"a name?", 1.0, up=True)
    assert [why for _, why in talk_of(talk.packets).opaque] == ["over UDP, which is not read"]


def described(talk):
    """Let the camera describe its film over RTSP."""
    sets = ",".join(base64.b64encode(s).decode() for s in SETS)
    said = f"RTSP/1.0 200 OK\r\nCSeq: 2\r\n\r\nm=video 0 RTP/AVP 96\r\na=fmtp:96 sprop-parameter-sets={sets}; x=1\r\n"
    talk.ask("lin.camera", b"DESCRIBE rtsp://x/film RTSP/1.0\r\nCSeq: 2\r\n\r\n", said.encode(), at=0.2)


def test_what_a_decoder_must_know_was_told_over_rtsp():
    talk = Conversation(HOME)
    described(talk)
    assert rtp.parameters(connections(talk.packets)) == {"lin.camera": SETS}
    talk.ask("ada.camera", b"x", b"sprop-parameter-sets=????,AA", at=0.3)
    talk.ask("ada.camera", b"x", b"sprop-parameter-sets=A,AA", at=0.4)
    assert "ada.camera" not in rtp.parameters(connections(talk.packets))


def test_a_finding_says_over_which_hop_the_strangers_video_came():
    talk = Conversation(HOME)
    described(talk)
    film = Film()
    for i, each in enumerate(film.picture(bytes([KEY]) + picture("lin"))):
        talk.send(LINK, PORT, each, 0.5 + i / 1000)
    asks(talk)
    read_film = lambda data: read(data[data.index(b"\xff\xd8") :] if b"\xff\xd8" in data else data)  # noqa: E731
    word = whence(leak(), HOME, talk.packets, read_film)
    assert word.node == "relay"
    number = next(p.number for p in talk.packets if p.link == LINK and p.half == "client")
    assert f"; lin's picture had come to it over {LINK} (packet {number}), as video to 10.1." in word.sentence


def test_of_what_is_not_read_nothing_is_concluded():
    talk = Conversation(HOME)
    talk.send(LINK, PORT, b"anything", 0.5)
    asks(talk)
    word = whence(leak(), HOME, talk.packets, read)
    assert word.node == "relay"
    assert "how it had come there is not seen: lin.camera.rtp is over UDP, which is not read" in word.sentence
    assert (LINK, "over UDP, which is not read") in word.opaque


def test_over_http_nothing_has_changed():
    talk = Conversation(HOME)
    talk.ask("lin.camera", get("/still"), ok(picture("lin")), at=0.5)
    asks(talk)
    assert "had come to it over lin.camera (packet" in whence(leak(), HOME, talk.packets, read).sentence


def encoded(plane):
    """Return the parts of a picture that libx264 makes of it."""
    context = av.CodecContext.create("libx264", "w")
    context.height, context.width = plane.shape
    context.pix_fmt = "yuv420p"
    context.time_base = Fraction(1, 5)
    context.options = {"preset": "superfast", "tune": "zerolatency", "crf": "20"}
    frame = av.VideoFrame.from_ndarray(np.dstack([plane] * 3), format="rgb24").reformat(format="yuv420p")
    data = b"".join(bytes(p) for p in (*context.encode(frame), *context.encode(None)))
    return [p for p in data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1") if p]


def test_a_real_encoders_picture_is_decoded_as_it_was():
    plane = np.zeros((240, 320), np.uint8)
    plane[:, 160:] = 200
    parts = encoded(plane)
    sets = tuple(p for p in parts if p[0] & 31 in (7, 8))
    slices = [p for p in parts if p[0] & 31 == 5]
    (found,) = pictures(sent(*Film().picture(*slices)), known=sets)
    luma = media.luma_of_h264(found)
    assert luma.shape == (240, 320)
    assert luma[:, 170:].mean() - luma[:, :150].mean() > 120
    assert media.luma_of_h264(found[: len(sets[0]) + 8]) is None
    assert media.luma_of_h264(rtp.START + b"\xff" * 100) is None
