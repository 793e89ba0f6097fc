"""Cameras made of software that is somebody else's: what its programs are told, and where they give pictures.

Each asks the lens for a picture `RATE` times a second (a stream that is read too slowly comes ever later), films it
through a pipeline of its own (decodes, scales, overlays, encodes), and has its own idea of time, size and rate. Nothing
of it is reached from outside: ``bridge.py`` is what others dial.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common import ffmpeg, node

RATE = 5
"""Pictures a second; three of them then leave room for the rest of a home on two cores."""
_MOTION = """# written by camera/others.py
daemon off
setup_mode off
log_level 5
log_file {folder}/motion.log
pid_file {folder}/motion.pid
target_dir {folder}
netcam_url {lens}
netcam_params keepalive=on
width 1920
height 1080
framerate {rate}
pause on
picture_output off
movie_output off
snapshot_interval 0
webcontrol_port 0
stream_port {port}
stream_localhost on
stream_maxrate {rate}
stream_motion off
stream_quality 50
text_right %Y-%m-%d\\n%T
text_left
"""
_ENCODE = (
    "-re -f image2 -loop 1 -pattern_type none -framerate {rate} -i {lens} -an "
    "-vf scale=1280:720 -pix_fmt yuv420p -c:v libx264 -preset superfast -tune zerolatency -g 3 -crf 26 "
    "-rtsp_transport tcp -f rtsp {{output}}"
)


@dataclass(frozen=True, slots=True)
class Camera:
    """What is run, and where on this machine it gives a stream of pictures, and H.264 in MP4 if it has that.

    What gives no pictures over HTTP has a program that writes them to its output instead, `pictures`.
    """

    command: tuple[str, ...]
    stream: str = ""
    video: str | None = None
    pictures: tuple[str, ...] = ()


def motion(lens: str, folder: Path, port: Callable[[], int]) -> Camera:
    """Return Debian's motion: the lens's JPEG decoded, its clock drawn in, encoded as JPEG, without detection."""
    at = port()
    told = folder / "motion.conf"
    told.write_text(_MOTION.format(folder=folder, lens=lens, rate=RATE, port=at))
    base = f"http://127.0.0.1:{at}"
    return Camera(("motion", "-c", str(told)), f"{base}/stream")


def go2rtc(lens: str, folder: Path, port: Callable[[], int]) -> Camera:
    """Return FFmpeg behind go2rtc: H.264 published over RTSP in TCP, and made into JPEG for who wants pictures."""
    api, rtsp = port(), port()
    settings = {
        "api": {"listen": f"127.0.0.1:{api}"},
        "rtsp": {"listen": f"127.0.0.1:{rtsp}"},
        "webrtc": {"listen": ""},
        "srtp": {"listen": ""},
        "log": {"level": "warn"},
        "ffmpeg": {
            # FFmpeg's own default, 200 kbit/s, is worse with every picture
            "mjpeg": "-c:v mjpeg -q:v 6",
            # and it would look into twenty pictures first, which are four seconds
            "rtsp": "-fflags nobuffer -flags low_delay -fpsprobesize 0 -analyzeduration 500000 -rtsp_transport tcp "
            "-i {input}",
        },
        "streams": {
            "film": f"exec:ffmpeg -hide_banner -v error {_ENCODE.format(lens=lens, rate=RATE)}",
            "pictures": "ffmpeg:film#video=mjpeg",
        },
    }
    told = folder / "go2rtc.yaml"
    told.write_text(json.dumps(settings))  # JSON is YAML
    base = f"http://127.0.0.1:{api}/api"
    return Camera(
        ("go2rtc", "-config", str(told)),
        f"{base}/stream.mjpeg?src=pictures",
        f"{base}/stream.mp4?src=film",
    )


def mediamtx(lens: str, folder: Path, port: Callable[[], int]) -> Camera:  # noqa: ARG001 - its ports are known
    """Return FFmpeg behind MediaMTX: H.264 that others play over RTSP, in TCP or UDP, with the device's secret."""
    (_, rtsp), secret = node.address("RTSP"), node.text("DEVICE_SECRET")
    film = f"rtsp://127.0.0.1:{rtsp}/film"
    # who begins to look need not wait for the next picture that stands for itself: each does
    encode = _ENCODE.format(lens=lens, rate=RATE).format(output=film).replace(" -g 3 ", " -g 1 ")
    anything = [{"action": action, "path": ""} for action in ("publish", "read", "api")]
    settings = {
        "logLevel": "warn",
        "authInternalUsers": [
            {"user": "any", "pass": "", "ips": ["127.0.0.1/32"], "permissions": anything},
            {"user": "relay", "pass": secret, "ips": [], "permissions": [{"action": "read", "path": "film"}]},
        ],
        "rtspAddress": node.text("RTSP"),
        "rtpAddress": node.text("RTP"),
        "rtcpAddress": node.text("RTCP"),
        "rtspTransports": ["udp", "tcp"],
        "api": True,
        "apiAddress": "127.0.0.1:9997",
        "rtmp": False,
        "hls": False,
        "webrtc": False,
        "srt": False,
        "paths": {"film": {"runOnInit": f"ffmpeg -hide_banner -v error {encode}", "runOnInitRestart": True}},
    }
    told = folder / "mediamtx.yml"
    told.write_text(json.dumps(settings))  # JSON is YAML
    look = (*ffmpeg.PROGRAM, "-rtsp_transport", "tcp", *ffmpeg.READS, "-i", film, *ffmpeg.WRITES)
    return Camera(("mediamtx", str(told)), pictures=look)


KINDS: dict[str, Callable[[str, Path, Callable[[], int]], Camera]] = {
    "motion": motion,
    "go2rtc": go2rtc,
    "mediamtx": mediamtx,
}
"""From a lens's address, a folder to write settings in, and what gives free ports, to a camera."""
