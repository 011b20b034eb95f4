//go:build !libopus

package codec

// OpusBy is the library that decodes Opus in this build.
const OpusBy = "pion/opus"

type opusDecoder = pionDecoder
