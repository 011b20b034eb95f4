package pipeline

import (
	"context"
	"hash/fnv"
	"io"
	"iter"
	"time"

	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/recording"
)

// The keys of recordings in their bucket.
func mixKey(meetingID string) string           { return meetingID + "/audio.flac" }
func opusKey(meetingID, trackID string) string { return meetingID + "/" + trackID + ".opus" }

// Mix is the FLAC file with everybody in a meeting that is over (else the error
// is meeting.ErrLive): the one that is kept, or one that is made now.
func (p *Pipeline) Mix(ctx context.Context, meetingID string) (r meeting.Recording, err error) {
	m, err := p.cfg.Store.Meeting(ctx, meetingID)
	if err != nil {
		return r, err
	}
	if m.State == meeting.StateLive {
		return r, meeting.ErrLive
	}
	r.Write = func(w io.Writer) error { return p.writeMix(ctx, m, w) }
	return r, p.kept(ctx, m, mixKey(m.ID), &r)
}

// Opus is the Ogg Opus file of a track: the one that is kept, or one that is made
// now, of what has arrived.
func (p *Pipeline) Opus(ctx context.Context, meetingID, trackID string) (r meeting.Recording, err error) {
	m, row, err := p.track(ctx, meetingID, trackID)
	if err != nil {
		return r, err
	}
	r.Write = func(w io.Writer) error { return p.writeOpus(ctx, m, row, w) }
	return r, p.kept(ctx, m, opusKey(m.ID, row.ID), &r)
}

func (p *Pipeline) writeMix(ctx context.Context, m meeting.Meeting, w io.Writer) error {
	var tracks []recording.Track
	for _, row := range m.Tracks {
		if row.AudioExpiredAt != nil {
			return &meeting.ExpiredError{At: *row.AudioExpiredAt} // without some of them it would not be the meeting
		}
		tracks = append(tracks, recording.Track{
			StartedAt: row.StartedAt,
			Open: func(ctx context.Context) (iter.Seq2[audio.Packet, error], func(), error) {
				a, err := p.audio(ctx, row)
				return a.packets, a.close, err
			},
		})
	}
	comments := [][2]string{{"TITLE", m.Room}, {"DATE", m.StartedAt.Format(time.RFC3339)}}
	for _, who := range m.Participants {
		comments = append(comments, [2]string{"PERFORMER", who.Name})
	}
	return recording.WriteFLAC(w, comments, recording.Mix(ctx, m.StartedAt, tracks))
}

func (p *Pipeline) writeOpus(ctx context.Context, m meeting.Meeting, row meeting.Track, w io.Writer) error {
	a, err := p.audio(ctx, row)
	if err != nil {
		return err
	}
	defer a.close()
	serial := fnv.New32a()
	_, _ = io.WriteString(serial, row.ID) // never fails
	tags := recording.Tags{Serial: serial.Sum32(), Comment: []string{"TITLE=" + m.Room, "DATE=" + row.StartedAt.Format(time.RFC3339)}}
	for _, who := range m.Participants {
		if who.ID == row.Participant {
			tags.Comment = append(tags.Comment, "ARTIST="+who.Name)
		}
	}
	packets := a.packets
	if !a.over {
		packets = until(packets, a.end)
	}
	return recording.WriteOpus(w, tags, packets)
}

// until is what of packets lies before a tick, at which one begins.
func until(packets iter.Seq2[audio.Packet, error], end int64) iter.Seq2[audio.Packet, error] {
	return func(yield func(audio.Packet, error) bool) {
		if end == 0 {
			return
		}
		for p, err := range packets {
			if !yield(p, err) || err != nil || p.Next() >= end {
				return
			}
		}
	}
}
