package recording

import (
	"encoding/binary"
	"io"
	"iter"

	"verbatim/media/audio"
	"verbatim/media/codec"
	"verbatim/pipeline/meeting"
)

const (
	// preSkip is how much of the file's beginning players leave out: 80 ms, that
	// decoders may settle in (RFC 7845, 4.2). It is a gap that is put before the
	// track, so that position 0 in a player is that of the track.
	preSkip = 80 * audio.TickRate / 1000
	// pageTicks is when a page is full: 1 s (RFC 7845, 3.1 asks for no more).
	pageTicks = audio.TickRate
	// maxOpusBytes is the longest packet that decoders must take (RFC 7845, 6).
	maxOpusBytes = 61440
)

// Tags say what a file is of.
type Tags struct {
	Serial  uint32   // of the Ogg stream
	Comment []string // NAME=value
}

// WriteOpus writes a track as an Ogg Opus file (RFC 7845): the sender's own
// packets, byte by byte. Where there are none, be it that they were lost, shed
// or never sent, or were of another format, packets that ask for concealment
// keep the place. So the file is as long as the track, and what is in it stands
// within 2.5 ms of where it stands in the track. It fails with meeting.ErrNotOpus,
// with nothing written, if there was never any Opus.
func WriteOpus(w io.Writer, tags Tags, packets iter.Seq2[audio.Packet, error]) error {
	o := opusWriter{ogg: oggWriter{w: w, serial: tags.Serial}}
	for p, err := range packets {
		if err == nil {
			err = o.packet(p, tags)
		}
		if err != nil {
			return err
		}
	}
	return o.end()
}

type opusWriter struct {
	ogg     oggWriter
	began   bool
	toc     byte  // of the last packet
	at      int64 // the position in the file, in ticks
	paged   int64 // of at, is on earlier pages
	owed    int64 // ticks of gaps that are still to be written
	written int64 // ticks of the track that were given
}

func (o *opusWriter) packet(p audio.Packet, tags Tags) error {
	o.written += p.Samples
	if !playable(p) {
		o.owed += p.Samples
		if !o.began {
			return nil // its configuration will be that of the first packet
		}
		return o.gap()
	}
	o.toc = p.Payload[0]
	if !o.began {
		o.began = true
		if err := o.head(tags); err != nil {
			return err
		}
		o.owed += preSkip
	}
	if err := o.gap(); err != nil {
		return err
	}
	return o.add(p.Payload, p.Samples)
}

// playable says whether p goes into the file as it is.
func playable(p audio.Packet) bool {
	if p.Kind != audio.Coded || p.Format != audio.FormatOpus || len(p.Payload) > maxOpusBytes {
		return false
	}
	ticks, err := codec.OpusTicks(p.Payload)
	return err == nil && ticks == p.Samples
}

// head writes the two headers, each on pages of its own (RFC 7845, 3 and 5).
func (o *opusWriter) head(tags Tags) error {
	le := binary.LittleEndian
	b := append([]byte("OpusHead"), 1, 1+o.toc>>2&1) // channels as in the first packet
	b = le.AppendUint16(b, preSkip)
	b = le.AppendUint32(b, audio.TickRate)
	b = append(b, 0, 0, 0) // no gain; mono or stereo
	o.ogg.add(b, 0)
	if err := o.ogg.flush(oggBegins); err != nil {
		return err
	}
	b = []byte("OpusTags")
	text := func(s string) { b = append(le.AppendUint32(b, uint32(len(s))), s...) }
	text("Verbatim")
	b = le.AppendUint32(b, uint32(len(tags.Comment)))
	for _, c := range tags.Comment {
		text(c)
	}
	o.ogg.add(b, 0)
	return o.ogg.flush(0)
}

// gap writes what is owed, but for what is shorter than a frame can be.
func (o *opusWriter) gap() error {
	for packet, ticks := range gapPackets(o.toc, o.owed/gapUnit*gapUnit) {
		o.owed -= ticks
		if err := o.add(packet, ticks); err != nil {
			return err
		}
	}
	return nil
}

// add puts a packet on a page. A full page is written with the packet after it:
// it might be the last one.
func (o *opusWriter) add(packet []byte, ticks int64) error {
	if o.at-o.paged >= pageTicks || !o.ogg.fits(len(packet)) {
		if err := o.ogg.flush(0); err != nil {
			return err
		}
		o.paged = o.at
	}
	o.at += ticks
	o.ogg.add(packet, o.at)
	return nil
}

// end writes the last page. Its position is the track's end, which may lie
// before that of its last packet (RFC 7845, 4.4).
func (o *opusWriter) end() error {
	if !o.began {
		return meeting.ErrNotOpus
	}
	if o.owed > 0 {
		o.owed = gapUnit
		if err := o.gap(); err != nil {
			return err
		}
	}
	o.ogg.granule = preSkip + o.written
	return o.ogg.flush(oggEnds)
}
