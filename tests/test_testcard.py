from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from chaos import testcard
from chaos.errors import Misuse, Surroundings
from chaos.frames import luma_of_jpeg
from chaos.identity import read
from tests.pictures import KEY


def card() -> testcard.TestCard:
    return testcard.TestCard(KEY, case=2, owner=5, camera=1)


def test_a_card_carries_its_owner_and_its_tick():
    luma = luma_of_jpeg(card().jpeg(70_000))
    assert luma is not None
    (seen,) = read(luma, [KEY])
    assert (seen.owner, seen.camera, seen.case, seen.tiles) == (5, 1, 2, 12)
    assert (seen.frame, seen.time_ms) == (70_000 % 65_536, 70_000 * testcard.TICK_MS)


def test_the_page_shows_a_stream_that_lives():
    async def talk() -> None:
        async with TestClient(TestServer(card().application())) as client:
            page = await (await client.get("/")).text()
            assert "card.mjpeg" in page
            assert "object-fit: contain" in page
            async with client.get("/card.mjpeg") as answer:
                assert answer.content_type == "multipart/x-mixed-replace"
                numbers = []
                for _ in range(3):
                    while not (line := await answer.content.readline()).startswith(b"Content-Length"):
                        pass
                    await answer.content.readline()
                    luma = luma_of_jpeg(await answer.content.readexactly(int(line.split()[1])))
                    assert luma is not None
                    numbers.append(read(luma, [KEY])[0].time_ms)
            assert len(set(numbers)) == 3
            assert numbers == sorted(numbers)

    asyncio.run(talk())


def test_an_address_that_other_machines_reach_by_chance_is_refused():
    for host in ("0.0.0.0", "::", ""):
        with pytest.raises(Misuse, match="one address of this machine"):
            testcard.serve(card(), host, 0, print)


def test_a_port_that_is_taken_is_a_sentence():
    async def taken() -> None:
        async with TestServer(web.Application()) as server:
            assert server.port is not None
            with pytest.raises(Surroundings, match="choose a free port"):
                await testcard._serve(card(), "127.0.0.1", server.port, print)

    asyncio.run(taken())


def test_serving_tells_where_and_ends_when_it_is_interrupted():
    async def interrupted() -> None:
        told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(testcard._serve(card(), "127.0.0.1", 0, told.set_result))
        url = await told
        assert url.startswith("http://127.0.0.1:")
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving

    asyncio.run(interrupted())
