"""Let MediaMTX end what it still sends over UDP to who went without a goodbye: a case leaves nothing for the next."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request

API = "http://127.0.0.1:9997/v3/rtspsessions"
SECONDS = 5.0


def _ask(path: str, method: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(API + path, method=method), timeout=SECONDS) as answer:  # noqa: S310
        return bytes(answer.read())


def main() -> int:
    """End every session that is read over UDP."""
    for session in json.loads(_ask("/list?itemsPerPage=1000", "GET"))["items"]:
        if session["state"] == "read" and session["transport"] != "TCP":
            try:
                _ask(f"/kick/{session['id']}", "POST")
            except urllib.error.HTTPError as gone:
                if gone.code != 404:  # it ended meanwhile
                    raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
