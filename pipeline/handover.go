package pipeline

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/recording"
	"verbatim/pipeline/store"
	"verbatim/pipeline/tracklog"
)

// How several nodes record a meeting of which they have tracks each (docs/adr/0012).
// When it is over, each puts a copy of its tracks' packets, a part, into the bucket
// that they share. Who finds all others' there claims the recording; if that one dies,
// so does another. Parts go when it is made.

const (
	bucketEvery = time.Minute // how often is looked which bucket it is, and which the others'
	claimEvery  = store.ClaimFor / 4
	partSlack   = 60 * audio.TickRate // by which a part may be longer than the store knows its track
)

// partKey is that of a part.
func partKey(meetingID, trackID string) string { return meetingID + "/" + trackID + ".part" }

// sharing is what Record knows of the bucket.
type sharing struct {
	next   time.Time // when it is looked again
	away   bool      // it could not be read; this was told
	others string    // the nodes that have another one; this was told
	parts  map[string]retry
}

// lookAtBucket finds out which bucket recordings are kept in, for other nodes to know,
// and tells if theirs is another one.
func (p *Pipeline) lookAtBucket(ctx context.Context, s *sharing) {
	if !p.cfg.Store.Shared() || p.cfg.Now().Before(s.next) {
		return
	}
	s.next = p.cfg.Now().Add(bucketEvery)
	id, err := p.cfg.Recordings.ID(ctx)
	if err != nil {
		if !s.away && ctx.Err() == nil {
			p.log.Error("the bucket of recordings cannot be read; trying again", "err", err)
		}
		s.away, s.next = true, p.cfg.Now().Add(retryFirst)
		return
	}
	s.away = false
	if err := p.cfg.Store.SetBucket(ctx, id); err != nil {
		p.log.Warn("other nodes do not know yet where this one keeps recordings", "err", err)
	}
	nodes, err := p.cfg.Store.Nodes(ctx)
	if err != nil {
		return // who looks for meetings to record tells of it
	}
	var others []string
	for _, n := range nodes {
		if n.Alive && n.Bucket != "" && n.Bucket != id {
			others = append(others, n.ID)
		}
	}
	slices.Sort(others)
	if now := strings.Join(others, ", "); now != s.others {
		s.others = now
		if now == "" {
			p.log.Info("all nodes keep recordings in the same place")
			return
		}
		p.log.Warn("other nodes keep recordings in another place than this one, or none: of meetings of which both have tracks none are made, "+
			"and the audio is kept for as long as that is so; give all the same --recordings", "nodes", now)
	}
}

// handOver puts what other nodes wait for into the bucket, and removes what nobody
// needs there any more.
func (p *Pipeline) handOver(ctx context.Context, s *sharing) {
	rows, err := p.cfg.Store.ToHandOver(ctx)
	if err != nil {
		return // who looks for meetings to record tells of it
	}
	for _, row := range rows {
		p.attempt(ctx, s.parts, row.ID, func() error { return p.handOverTrack(ctx, row) }, func(err error) {
			p.log.Error("a track's audio could not be handed over to the node that records the meeting; trying again", "track", row.ID, "err", err)
		})
	}
	forget(s.parts, rows, func(row meeting.Track) string { return row.ID })
	used, err := p.cfg.Store.UsedParts(ctx)
	if err != nil {
		return
	}
	for _, row := range used {
		err := p.cfg.Recordings.Remove(ctx, partKey(row.Meeting, row.ID))
		if err == nil {
			err = p.cfg.Store.PartGone(ctx, row.ID, row.Part)
		}
		if err != nil {
			return // it is tried again, by this node or another
		}
	}
}

func (p *Pipeline) handOverTrack(ctx context.Context, row meeting.Track) error {
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	end, ok := p.records.begin(row.Meeting, cancel)
	if !ok {
		return nil // it is being erased
	}
	defer end()
	// Whoever erases the meeting from here on tells this node, which removes what
	// it has put into the bucket.
	if _, err := p.cfg.Store.Meeting(ctx, row.Meeting); err != nil {
		return err
	}
	bucket, key := p.cfg.Store.Bucket(), partKey(row.Meeting, row.ID)
	err := p.cfg.Recordings.Put(ctx, key, "application/octet-stream", func(w io.WriteSeeker) error {
		a, err := p.audio(ctx, row)
		if err != nil {
			return err
		}
		defer a.close()
		return tracklog.Encode(w, a.packets)
	})
	if p.gone(err, row.Meeting) {
		return p.cfg.Store.LoseAudio(ctx, row.ID)
	}
	if err == nil {
		err = p.cfg.Store.SetPart(ctx, row.ID, bucket)
	}
	if errors.Is(err, store.ErrNotFound) {
		return errors.Join(p.cfg.Recordings.Remove(ctx, key), err)
	}
	return err
}

// handedOver says whether this node has a part instead of a track's log.
func (p *Pipeline) handedOver(row meeting.Track) bool {
	return p.cfg.Recordings != nil && p.cfg.Store.Elsewhere(row) && p.cfg.Store.HandedOver(row)
}

// source is the audio of a track that is over: this node's, or what another has
// handed over.
func (p *Pipeline) source(ctx context.Context, row meeting.Track) (trackAudio, error) {
	if !p.handedOver(row) {
		return p.audio(ctx, row)
	}
	f, err := p.cfg.Recordings.Open(ctx, partKey(row.Meeting, row.ID))
	if errors.Is(err, recording.ErrNotKept) { // somebody took it: its node hands it over again
		return trackAudio{}, errors.Join(err, p.cfg.Store.PartGone(ctx, row.ID, row.Part))
	}
	if err != nil {
		return trackAudio{}, err
	}
	return trackAudio{
		packets: tracklog.Decode(f, row.Account.Total()+partSlack), end: row.Account.Total(), over: true,
		close: func() { _ = f.Close() }, // it was read only
	}, nil
}

// keepClaim claims the recording of a meeting again and again until stop is called, and
// calls cancel when another node has it.
func (p *Pipeline) keepClaim(ctx context.Context, id string, cancel context.CancelFunc) (stop func() (lost bool)) {
	if !p.cfg.Store.Shared() {
		return func() bool { return false }
	}
	ctx, end := context.WithCancel(ctx)
	done := make(chan bool, 1)
	go func() {
		tick := time.NewTicker(claimEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				done <- false
				return
			case <-tick.C:
			}
			// If the database is away, so it is for others; and what two of them make
			// is the same.
			if mine, err := p.cfg.Store.ClaimRecording(ctx, id); err == nil && !mine {
				cancel()
				done <- true
				return
			}
		}
	}()
	return func() bool {
		end()
		return <-done
	}
}
