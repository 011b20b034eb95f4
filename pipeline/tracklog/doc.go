// Package tracklog keeps the packets of each track in the order in which they
// were appended: in memory for readers that keep up, in one append-only file
// for all others and for the time after a crash.
//
// # Flow
//
//	Append ─▶ chunks in memory ──── flush ───▶ <Dir>/<meeting>/<track>.log
//	               │ readers that keep up          │ readers that fell behind
//	               ▼                               ▼
//	                        Read, switching by Seq
//
// Append encodes packets into chunks of about 4 KiB and never waits for a
// reader or the disk. The flusher writes what is new every WriteEvery and makes
// it durable every SyncEvery; at an End packet it does both at once. Chunks that
// are written stay in memory for readers while they are newer than Tail. What is no
// longer in memory lies in the file, and what is not yet in the file lies in
// memory, so that a reader that knows the Seq it wants next finds exactly one
// place to read on, whatever happens around it.
//
// # Frames
//
// A file begins with 8 bytes, "verblog" and the version (1). Frames follow it
// without gaps, all integers big-endian:
//
//	length  u32   of everything after crc: 35 + the payload's length
//	crc     u32   CRC-32C of everything after it
//	seq     u64
//	start   i64   ticks
//	samples i64   ticks
//	at      i64   microseconds since 1970
//	kind, origin, format  u8 each
//	payload       at most 64 KiB; of coded and end packets only
//
// A frame of kind shed may stand for a run of packets of the same Samples: its
// payload is their count (u32) and the microseconds from the first At to the
// last (u32). In memory the same bytes are used, so that writing is copying.
//
// A file is read up to the first frame whose length, CRC, Seq, Start or content
// cannot be. If no good frame lies behind that, Open cuts the file there. This is
// also why a write that failed half-way does no harm: the next one begins at the
// same offset, and what an older attempt left behind it never carries the Seq
// that would have to follow. If there are good ones, of a Seq, a Start and an At
// that can follow, Open writes the file anew with shed packets in place of what
// cannot be read, and brings the End's totals in line (repair.go). A crash may
// leave such holes, too: the system writes pages in any order.
//
// # Expiry
//
// Log.Expire writes the file of a log that has ended anew, all coded packets shed:
// a temporary file, fsync, rename, fsync of the folder; then the old file, which
// has no name any more, is cut to nothing. Reads that began before end with
// ErrExpired.
//
// # When the disk fails or is full
//
// Writing is tried again with every flush and what was appended stays in
// memory. When all logs together exceed MemoryBytes, chunks that are written go
// first, whatever Tail says; then the oldest unwritten audio of the log
// with the most of it: its coded packets become shed packets of the same Seq,
// Start and Samples, the account moves with them, and so do the totals of an End
// packet that is already there. Runs of shed packets take a few bytes, so that
// an outage of hours stays within the bound as well.
//
// A failed fsync is tried again, but what was written before is not written
// again: Linux may have given those pages up, which only a power loss would show.
// So what Durable says stays where it was before.
//
// # Goroutines and locks
//
// The only goroutine is that of whoever calls Store.Run (it starts a few
// helpers for fsync and waits for them). Readers run on their callers'.
//
//   - Store.mu guards the map of open logs and their reference counts.
//   - Store.dirs keeps making a meeting's folder and removing it apart.
//   - Log.io is held by whoever uses the log's file: flush, Close, Remove and
//     the scan of Open. It is the only lock held while the disk works.
//   - Log.mu guards the log's chunks, index, position and readers. It is never
//     held during I/O.
//
// Order: Store.mu before Log.mu; Log.io before Log.mu and before Store.dirs.
// Store.mu and Log.io are never held together, and no goroutine holds the locks
// of two logs.
package tracklog
