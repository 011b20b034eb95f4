// Package socket is what engines that are reached over a WebSocket have in
// common, so that each of them is only its protocol.
//
//	Open: dial, handshake, refusals as errors that know when to try again
//	Stream.Send ──────────────────────────────▶ server
//	Stream.Results ◀── Hear (the engine's) ◀── server
//
// A Stream has two goroutines. One reads: it hands every message to the
// engine's Hear and delivers the results that come of it. The other keeps an
// idle connection alive. Both end when the connection does; Close waits for
// them. Stream.mu is a leaf.
package socket
