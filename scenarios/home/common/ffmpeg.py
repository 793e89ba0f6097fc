"""FFmpeg, or another program that writes JPEGs one after the other to its output, as long as somebody wants them."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence

from common import node

DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--") if shutil.which("setpriv") else ()
"""In front of a command: however this ends; outside of a container nothing else would end a program then."""
LARGEST = 16 * 2**20
"""Bytes of a picture; whoever writes more without an end gives none."""
ENDS_WITHIN = 1.0
"""Seconds that a program has to end by itself, such as to say goodbye to whom it speaks with, if nobody says more."""
_END = b"\xff\xd9"
READS = (
    "-threads", "1", "-fflags", "nobuffer", "-flags", "low_delay",
    "-fpsprobesize", "0", "-probesize", "32", "-analyzeduration", "0",
)  # fmt: skip
"""What FFmpeg is told of a live source: by itself it looks into twenty pictures first, and each thread keeps one.

With these its first picture of five a second is there after 0.6 s, and without a limit of what it looks into after 1.2
to 2 s (measured)."""
WRITES = ("-an", "-threads", "1", "-fps_mode", "passthrough", "-c:v", "mjpeg", "-q:v", "4", "-f", "image2pipe", "-")
PROGRAM = ("ffmpeg", "-hide_banner", "-nostdin", "-v", "error")


@contextlib.asynccontextmanager
async def pictures(command: Sequence[str], ends_within: float = ENDS_WITHIN) -> AsyncIterator[AsyncIterator[bytes]]:
    """Run a program and give its pictures; it has ended when the block has, also when that is cancelled.

    After `ends_within` seconds it is killed, and whom it spoke with does not hear of it.
    """
    process = await asyncio.create_subprocess_exec(
        *DIES_WITH_US, *command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None, "asked for"
        yield _cut(process.stdout)
    finally:
        await asyncio.shield(_end(process, ends_within))


async def _cut(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    kept = bytearray()
    while chunk := await stream.read(1 << 16):
        looked = max(0, len(kept) - 1)
        kept += chunk
        while (end := kept.find(_END, looked)) >= 0:
            yield bytes(kept[: end + 2])
            del kept[: end + 2]
            looked = 0
        if len(kept) > LARGEST:
            node.log("too-large", bytes=len(kept))
            return


async def _wait(process: asyncio.subprocess.Process) -> None:
    """Wait for its end; whoever writes what nobody reads never gets there."""
    assert process.stdout is not None, "asked for"
    while await process.stdout.read(1 << 16):
        pass
    await process.wait()


async def _end(process: asyncio.subprocess.Process, within: float) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(_wait(process), within)
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
