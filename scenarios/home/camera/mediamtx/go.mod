module ownframe.invalid/mediamtx

go 1.24.0

require github.com/bluenviron/mediamtx v1.13.0
