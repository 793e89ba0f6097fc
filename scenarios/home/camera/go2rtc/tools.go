//go:build tools

// Package tools pins the go2rtc that this folder's Dockerfile builds. Nothing here is compiled: go.sum holds the
// checksum of every module, and `go build -mod=readonly` accepts no other bytes.
//
// To move the pin: `go get github.com/AlexxIT/go2rtc@vX.Y.Z` and `go mod tidy` here, and run
// tests/live/test_cameras.py.
package tools

import _ "github.com/AlexxIT/go2rtc"
