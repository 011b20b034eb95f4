//go:build !pocketsphinx || !cgo

// Command verbatim-pocketsphinx is built without the pocketsphinx library
// here, so that the rest of Verbatim builds on a machine that does not have it.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "verbatim-pocketsphinx was built without PocketSphinx: install Debian's libpocketsphinx-dev and pocketsphinx-en-us with gcc and pkg-config, and build it with: CGO_ENABLED=1 go build -tags pocketsphinx ./cmd/verbatim-pocketsphinx")
	os.Exit(3)
}
