package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"

	"verbatim/media/audio"
	"verbatim/pipeline/decode"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/store"
	"verbatim/pipeline/tracklog"
)

// Audio is one track's PCM as its stages got it: samples long as of now. It must
// be read, were it only to its first frame. The error is a meeting.ExpiredError
// if the audio was kept no longer; should that come about while it is read, that
// ends with an error.
func (p *Pipeline) Audio(ctx context.Context, meetingID, trackID string) (samples int64, frames iter.Seq2[audio.Frame, error], err error) {
	_, row, err := p.track(ctx, meetingID, trackID)
	if err != nil {
		return 0, nil, err
	}
	a, err := p.audio(ctx, row)
	if err != nil {
		return 0, nil, err
	}
	samples = a.end / audio.TicksPerSample
	return samples, func(yield func(audio.Frame, error) bool) {
		defer a.close()
		for f, err := range decode.Frames(a.packets) {
			if err == nil {
				f.PCM = f.PCM[:min(int64(len(f.PCM)), samples-f.Start)]
			}
			if !yield(f, err) || err != nil || f.Start+int64(len(f.PCM)) >= samples {
				return
			}
		}
	}, nil
}

func (p *Pipeline) track(ctx context.Context, meetingID, trackID string) (meeting.Meeting, meeting.Track, error) {
	m, err := p.cfg.Store.Meeting(ctx, meetingID)
	if err != nil {
		return m, meeting.Track{}, err
	}
	for _, t := range m.Tracks {
		if t.ID == trackID {
			return m, t, nil
		}
	}
	return m, meeting.Track{}, fmt.Errorf("track: %w", store.ErrNotFound)
}

// trackAudio is the audio of a track.
type trackAudio struct {
	packets iter.Seq2[audio.Packet, error] // waits at the end of a track that goes on
	end     int64                          // as of now, in ticks
	over    bool                           // there is no more than that
	close   func()
}

// audio opens the audio of a track, as Audio says.
func (p *Pipeline) audio(ctx context.Context, row meeting.Track) (a trackAudio, err error) {
	if row.AudioExpiredAt != nil {
		return a, &meeting.ExpiredError{At: *row.AudioExpiredAt}
	}
	log, closeLog, err := p.openLog(ctx, row)
	if err != nil {
		return a, err
	}
	packets := log.Read(ctx, 0) // what expires from here on is an error
	_, end, account, ended := log.State()
	had := row.Account.Received + row.Account.Recovered
	if row.FinishedAt != nil && had > 0 && account.Received+account.Recovered == 0 {
		closeLog()
		return a, &meeting.ExpiredError{At: p.cfg.Now()} // and that is about to be noted
	}
	return trackAudio{packets, end, ended, closeLog}, nil
}

// openLog opens the log of a track, at its full length if the track is finished.
func (p *Pipeline) openLog(ctx context.Context, row meeting.Track) (log *tracklog.Log, done func(), err error) {
	if t := p.running(row.ID); t != nil {
		return t.log, func() {}, nil
	}
	log, err = p.cfg.Logs.Open(row.Meeting, row.ID)
	if errors.Is(err, fs.ErrNotExist) && p.cfg.Store.Elsewhere(row) && row.Audio != meeting.AudioLost {
		return nil, nil, &meeting.ElsewhereError{Node: row.Node}
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, tracklog.ErrCorrupt) {
		return nil, nil, fmt.Errorf("%w: %w", meeting.ErrAudioLost, err)
	}
	if err != nil {
		return nil, nil, err
	}
	done = func() {
		if err := log.Close(); err != nil {
			p.log.Warn("close a track's log", "track", row.ID, "err", err)
		}
	}
	if row.FinishedAt != nil {
		if err := p.mend(ctx, row, log); err != nil {
			done()
			return nil, nil, err
		}
	}
	return log, done, nil
}
