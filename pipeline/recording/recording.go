// Package recording makes the files that are left of a meeting: per track the
// sender's own Opus packets in an Ogg file, and one FLAC file with everybody in
// it. It keeps them in a bucket: a folder, or one of S3, GCS and Azure.
//
// WriteOpus, Mix and WriteFLAC are pure: they read packets and write bytes in
// the goroutine of their caller.
package recording
