#!/bin/sh
# Starts nginx as it is configured beside this file; LISTEN and ORIGIN are host:port, EDGE_PATIENCE is nginx's time.
set -eu
sed -e "s|@LISTEN@|$LISTEN|g" -e "s|@ORIGIN@|$ORIGIN|g" -e "s|@PATIENCE@|${EDGE_PATIENCE:-450ms}|g" \
    "$(dirname "$0")/nginx.conf" > /tmp/nginx.conf
exec nginx -c /tmp/nginx.conf -e stderr
