#!/bin/sh
# static.sh OUT [ARCH]: builds the server as one static program for Linux. The same
# source, $VERSION (what `verbatim --version` prints) and Go give the same bytes, in
# whichever folder and with whatever was built before.
set -eu
cd "$(dirname "$0")/.."
exec env CGO_ENABLED=0 GOOS=linux GOARCH="${2:-$(go env GOARCH)}" GOAMD64=v1 GOARM64=v8.0 GOEXPERIMENT= \
	go build -trimpath -buildvcs=false -pgo=off -ldflags "-s -w -X main.release=${VERSION:-devel}" -o "$1" ./cmd/verbatim
