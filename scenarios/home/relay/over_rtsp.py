"""The relay with cameras that speak RTSP; everything else of it is as it is."""

from __future__ import annotations

import app
from rtsp import Rtsp

from common import node

if __name__ == "__main__":
    app.Uplink = Rtsp  # type: ignore[misc]
    node.run(app.main)
