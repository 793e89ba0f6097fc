"""Let the cache go of everything but the device registry, as it does itself when its memory is short.

The registry is read at each request, so that what was used least recently, which goes first, is never that.
"""

from __future__ import annotations

import os
import socket
import sys

KEPT = "device:"
SCRIPT = f"""
local gone = 0
for _, key in ipairs(redis.call('KEYS', '*')) do
  if string.sub(key, 1, {len(KEPT)}) ~= '{KEPT}' then gone = gone + redis.call('DEL', key) end
end
return gone
"""
SECONDS = 5.0


def main() -> None:
    """Run the script on the server and print how many keys went; exit 1 with what it said instead of a number."""
    host, _, port = os.environ["LISTEN"].rpartition(":")
    words = (b"EVAL", SCRIPT.encode(), b"0")
    with socket.create_connection(("127.0.0.1" if host == "0.0.0.0" else host, int(port)), SECONDS) as server:
        server.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
        answer = server.makefile("rb").readline().decode(errors="replace").strip()
    if not answer.startswith(":"):
        sys.exit(f"the cache answered {answer or 'nothing'}")
    print(answer[1:])


if __name__ == "__main__":
    main()
