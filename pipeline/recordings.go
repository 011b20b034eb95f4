package pipeline

import (
	"context"
	"fmt"
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
	rows, err := p.sources(m)
	if err != nil {
		return err
	}
	var tracks []recording.Track
	for _, row := range rows {
		tracks = append(tracks, recording.Track{
			StartedAt: row.StartedAt,
			Open: func(ctx context.Context) (iter.Seq2[audio.Packet, error], func(), error) {
				a, err := p.source(ctx, row)
				return a.packets, a.close, err
			},
		})
	}
	comments := [][2]string{{"TITLE", m.Room}, {"DATE", m.StartedAt.Format(time.RFC3339)}}
	for _, who := range m.Participants {
		comments = append(comments, [2]string{"PERFORMER", who.Name})
	}
	for _, text := range p.lacking(m) {
		comments = append(comments, [2]string{"LACKS", text})
	}
	return recording.WriteFLAC(w, comments, recording.Mix(ctx, m.StartedAt, tracks))
}

func (p *Pipeline) writeOpus(ctx context.Context, m meeting.Meeting, row meeting.Track, w io.Writer) error {
	a, err := p.source(ctx, row)
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

// sources are the tracks of which a mix is made: all of them, but for those whose audio
// is known to be lost. They have to be at hand, and at least one.
func (p *Pipeline) sources(m meeting.Meeting) (rows []meeting.Track, err error) {
	elsewhere := map[string]bool{}
	for _, row := range m.Tracks {
		switch {
		case p.handedOver(row):
			rows = append(rows, row)
		case row.AudioExpiredAt != nil:
			return nil, &meeting.ExpiredError{At: *row.AudioExpiredAt} // without some of them it would not be the meeting
		case row.Audio == meeting.AudioLost:
		case p.cfg.Store.Elsewhere(row):
			elsewhere[row.Node] = true
		default:
			rows = append(rows, row)
		}
	}
	switch {
	case len(elsewhere) == 1 && len(rows) == 0:
		for node := range elsewhere {
			return nil, &meeting.ElsewhereError{Node: node}
		}
	case len(elsewhere) > 0:
		return nil, &meeting.ElsewhereError{}
	case len(rows) == 0 && len(m.Tracks) > 0:
		return nil, meeting.ErrAudioLost
	}
	return rows, nil
}

// lacking says what a mix lacks, a line for each track whose audio is lost.
func (p *Pipeline) lacking(m meeting.Meeting) (lines []string) {
	for _, row := range m.Tracks {
		if row.Audio != meeting.AudioLost || p.handedOver(row) {
			continue
		}
		name := row.Participant
		for _, who := range m.Participants {
			if who.ID == row.Participant && who.Name != "" {
				name = who.Name
			}
		}
		from := row.StartedAt.Sub(m.StartedAt)
		lines = append(lines, fmt.Sprintf("%s, from %.1f s to %.1f s: the audio is lost", name, from.Seconds(), (from+audio.Duration(row.Account.Total())).Seconds()))
	}
	return lines
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
