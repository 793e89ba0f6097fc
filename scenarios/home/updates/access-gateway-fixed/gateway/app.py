"""The gateway in front of the account service: many hubs' requests over one kept connection.

HTTP/1.1 answers requests on a connection in the order in which they came, so one connection is enough for everybody. It
is already there when a request comes, and what the account service does not answer in time is refused at once.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque

PATIENCE = float(os.environ.get("GATEWAY_PATIENCE", "0.2"))
"""Seconds that an answer may take; the relay waits for 0.3."""
LATE = b'{"error": "the account service is late"}'
GONE = b'{"error": "the account service cannot be reached"}'


def log(sentence: str) -> None:
    """Write one line to stderr."""
    sys.stderr.write(f"event=gateway {sentence}\n")
    sys.stderr.flush()


async def message(reader: asyncio.StreamReader) -> bytes:
    """Return one request or answer as it stands on the wire; `EOFError` when there is none."""
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return head + await reader.readexactly(int(lengths[0]) if lengths else 0)


def answer(status: str, body: bytes) -> bytes:
    """Return an answer of the gateway's own."""
    return f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


class Origin:
    """The one connection to the account service, and who waits for an answer on it, the oldest first."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._waiting: deque[asyncio.Future[bytes]] = deque()
        self._writer: asyncio.StreamWriter | None = None
        self._dialling = asyncio.Lock()
        self._reading: asyncio.Task[None] | None = None

    async def ask(self, request: bytes) -> bytes:
        """Return the answer to `request`; `TimeoutError` when it is late, `OSError` when the connection broke."""
        waiter: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(PATIENCE):
            writer = await self._connected()
            self._waiting.append(waiter)
            writer.write(request)
            return await waiter  # one that gave up keeps the place: its answer comes all the same

    async def _connected(self) -> asyncio.StreamWriter:
        async with self._dialling:
            if self._writer is None:
                host, _, port = self.address.rpartition(":")
                reader, self._writer = await asyncio.open_connection(host, int(port))
                self._reading = asyncio.create_task(self._read(reader, self._writer))
            return self._writer

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                came = await message(reader)
                if self._waiting:
                    waiter = self._waiting.popleft()
                    if not waiter.done():
                        waiter.set_result(came)
        except (EOFError, OSError) as broken:
            log(f"{self.address}: {type(broken).__name__}")
        finally:
            writer.close()
            self._writer = None
            waiting, self._waiting = self._waiting, deque()
            for waiter in waiting:
                if not waiter.done():
                    waiter.set_exception(ConnectionResetError("the account service closed the connection"))


async def serve(origin: Origin, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer what comes on one connection of the relay's, until it is closed."""
    try:
        while True:
            request = await message(reader)
            try:
                came = await origin.ask(request)
            except TimeoutError:
                came = answer("504 Gateway Timeout", LATE)
            except ConnectionRefusedError:
                log(f"{origin.address} refused the connection")
                came = answer("502 Bad Gateway", GONE)
            except OSError:
                came = answer("502 Bad Gateway", GONE)
            writer.write(came)
            await writer.drain()
    except (EOFError, OSError):
        pass
    finally:
        writer.close()


async def main() -> None:
    """Serve until told to end."""
    origin = Origin(os.environ["ORIGIN"])
    host, _, port = os.environ["LISTEN"].rpartition(":")
    server = await asyncio.start_server(lambda r, w: serve(origin, r, w), host, int(port))
    log(f"listening on {host}:{port}")
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
