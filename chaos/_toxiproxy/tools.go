//go:build tools

// Package tools pins the Toxiproxy server that chaos/server.py builds where a machine has none. Nothing here is
// compiled: go.sum holds the checksum of every module, and `go build -mod=readonly` accepts no other bytes.
//
// To move the pin: change PINNED in chaos/server.py, run `go get github.com/Shopify/toxiproxy/v2@vX.Y.Z` and
// `go mod tidy` here, and run tests/live, which pins the server's behaviour that the harness relies on.
package tools

import _ "github.com/Shopify/toxiproxy/v2/cmd/server"
