"""What was asked and answered, out of streams: paired as the wire paired it, pictures cut out, what breaks off kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.contracts.reference import topology_of
from chaos.exchanges import talks
from chaos.streams import Connection, Stream, connections

from .conversations import Conversation, get, json, ok, picture, post, resp

HOME = topology_of(("ada", "grace", "lin"), None)
CRLF = b"\r\n"


def said(up=b"", down=b"", *, each=1000):
    """The exchanges of one connection, a packet for each so many bytes; answers come in packets from 101 on."""
    streams = []
    for data, first in ((up, 1), (down, 101)):
        stream = Stream(begun=True)
        for n, at in enumerate(range(0, len(data), each)):
            stream.add(data[at : at + each], first + n, (first + n) / 100)
        streams.append(stream)
    found = talks([Connection("ada.hub", "client", "10.0.0.3:1", 0.0, *streams)])
    return found.get(("ada.hub", "client"))


def exchanges(up=b"", down=b"", **how):
    return said(up, down, **how).exchanges


def test_a_still_is_cut_out_with_its_packets():
    (one,) = exchanges(get("/v1/still?width=9", Authorization="Bearer t"), ok(picture("lin", size=2500)))
    assert one.request.line == "GET /v1/still?width=9 HTTP/1.1"
    assert one.request.fields["authorization"] == "Bearer t"
    (shown,) = one.answer.pictures
    assert shown.data == picture("lin", size=2500)
    assert (shown.first, shown.last, shown.at) == (101, 103, 1.01)
    assert one.answer.whole


def test_a_chunked_still_is_put_together():
    shown = picture("lin", size=100)
    parts = [shown[:40], shown[40:41], shown[41:]]
    body = b"".join(f"{len(p):x};x=1\r\n".encode() + p + CRLF for p in parts) + b"0\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nTransfer-Encoding: chunked\r\n\r\n"
    one, two = exchanges(get("/a") + get("/b"), head + body + ok(b"{}", "application/json"))
    assert [p.data for p in one.answer.pictures] == [shown]
    assert two.answer.said == "{}"


def test_a_picture_that_breaks_off_is_there_as_far_as_it_came():
    (one,) = exchanges(get("/a"), ok(picture("lin"))[:600])
    assert not one.answer.whole
    assert one.answer.pictures[0].data.startswith(picture("lin")[:100])
    head = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nTransfer-Encoding: chunked\r\n\r\n"
    (one,) = exchanges(get("/a"), head + b"fff\r\n" + picture("lin", size=50))
    assert one.answer.pictures[0].data == picture("lin", size=50)
    assert not one.answer.whole


def test_a_body_without_a_length_lasts_until_the_end():
    (one,) = exchanges(get("/a"), b"HTTP/1.0 200 OK\r\nContent-Type: image/jpeg\r\n\r\n" + picture("lin"))
    assert one.answer.pictures[0].data == picture("lin")


@pytest.mark.parametrize("chunked", [False, True])
def test_each_picture_of_a_stream_is_cut_out(chunked):
    shown = [picture("ada", n, size=300 * n) for n in (1, 2, 3)]
    body = b"--Mark\r\n"
    for n, each in enumerate(shown):
        body += b"Content-Type: image/jpeg\r\n\r\n" + each + (b"\r\n--Mark\r\n" if n < 2 else b"")
    kind = b'HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary="Mark"\r\n'
    if chunked:
        answer = kind + b"Transfer-Encoding: chunked\r\n\r\n"
        answer += b"".join(f"{len(p):x}\r\n".encode() + p + CRLF for p in (body[:400], body[400:]))
    else:
        answer = kind + CRLF + body
    (one,) = exchanges(get("/s"), answer, each=200)
    assert [p.data for p in one.answer.pictures] == shown
    assert one.answer.pictures[0].last < one.answer.pictures[2].first


def test_answers_are_paired_as_the_wire_has_them_whatever_a_client_takes_them_for():
    """A client that gave up its first request takes the first answer for its second; the wire knows better."""
    first, second = exchanges(
        post("/access", '{"token": "of-ada"}') + post("/access", '{"token": "of-grace"}'),
        json('{"owner": "ada"}') + json('{"owner": "grace"}'),
    )
    assert ("of-ada" in first.request.said, first.answer.said) == (True, '{"owner": "ada"}')
    assert ("of-grace" in second.request.said, second.answer.said) == (True, '{"owner": "grace"}')
    (_, late) = exchanges(get("/a") + get("/b"), ok(b"x", "text/plain"))
    assert late.answer is None


def test_answers_without_a_body_have_none():
    ups = get("/a") + get("/b") + b"HEAD /c HTTP/1.1\r\n\r\n" + get("/d")
    downs = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n"
    downs += b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + json("[]")
    assert [e.answer.line[9:12] for e in exchanges(ups, downs)] == ["304", "204", "200", "200"]


def test_pictures_in_redis_are_cut_out_of_commands_and_replies():
    up = resp("HSET", "still:living-room", "jpeg", picture("lin"), "captured_at", "12") + resp(
        "HMGET", "k", "jpeg", "x"
    )
    down = b":2\r\n" + resp(picture("lin"), None)
    put, read = exchanges(up, down)
    assert put.speaks == "Redis"
    assert put.request.arguments == ("HSET", "still:living-room", "jpeg", "captured_at", "12")
    assert put.request.pictures[0].data == read.answer.pictures[0].data == picture("lin")
    assert (put.answer.line, read.request.line) == ("2", "HMGET k jpeg x")


def test_redis_pairs_by_order_too_and_passes_over_what_was_pushed():
    up = resp("MULTI") + resp("GET", "a") + resp("EXEC") + resp("HGETALL", "h")
    down = b"+OK\r\n>2\r\n$10\r\ninvalidate\r\n*0\r\n+QUEUED\r\n*1\r\n$3\r\none\r\n%1\r\n+k\r\n_\r\n"
    assert [e.answer.line for e in exchanges(up, down)] == ["OK", "QUEUED", "one", "k "]


@pytest.mark.parametrize(
    ("up", "down", "why"),
    [
        (b"\x16\x03\x01\x02\x00\x01", b"\x16\x03\x03", "encrypted (TLS)"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"", "HTTP/2, which is not read"),
        (b"OPTIONS rtsp://x RTSP/1.0\r\n\r\n", b"RTSP/1.0 200 OK\r\n\r\n", "a protocol that is not read"),
        (
            get("/socket", Upgrade="websocket"),
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x05hello",
            "another protocol after HTTP's upgrade, which is not read",
        ),
    ],
)
def test_what_cannot_be_read_is_told(up, down, why):
    assert said(up, down).opaque == ((0.0, why),)


def test_a_connection_on_which_nothing_was_said_is_not_unread():
    assert said() is None or said().opaque == ()


def test_a_connection_that_began_before_the_capture_is_read_from_its_next_request_on():
    talk = Conversation(HOME)
    port = talk.ask("ada.hub", get("/first"), ok(picture("lin")), at=1.0)
    talk.ask("ada.hub", get("/second"), ok(picture("ada")), at=2.0, port=port)
    later = [p for p in talk.packets if p.at > 1.0205]
    (one,) = talks(connections(later))["ada.hub", "client"].exchanges
    assert one.request.line == "GET /second HTTP/1.1"
    assert one.answer.pictures[0].data == picture("ada")


def test_an_answer_to_what_was_asked_before_the_capture_is_no_answer_to_what_was_asked_in_it():
    talk = Conversation(HOME)
    port = talk.ask("ada.hub", get("/first"), ok(picture("lin")), at=1.0)
    talk.ask("ada.hub", get("/second"), ok(picture("ada")), at=2.0, port=port)
    later = [p for p in talk.packets if p.at > 1.01]
    (one,) = talks(connections(later))["ada.hub", "client"].exchanges
    assert one.request.line == "GET /second HTTP/1.1"
    assert one.answer.pictures[0].data == picture("ada")


BEGINNINGS = [
    get("/a"),
    ok(picture("a", size=9)),
    resp("GET", "a"),
    b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x;boundary=b\r\n\r\n--b",
]


@given(
    st.lists(st.sampled_from(BEGINNINGS) | st.binary(max_size=50)),
    st.lists(st.sampled_from(BEGINNINGS) | st.binary(max_size=50)),
)
def test_whatever_a_system_under_test_says_is_read_or_passed_over(ups, downs):
    up, down = b"".join(ups), b"".join(downs)
    found = said(up, down, each=7)
    for each in found.exchanges if found else ():
        for message in (each.request, each.answer):
            assert message is None or message.first <= message.last
            assert (
                all(p.data in up + down for p in message.pictures)
                if message and "chunked" not in str(message.fields)
                else True
            )
