// Package pipeline runs the stages of every track: it opens the track's log,
// reads it to the recognizer, stores what comes back, tells those who watch,
// and picks up after a restart whatever was left.
//
// What is missing goes the same way: whoever reads a track's log notes what was
// lost, shed or broken off in it (gaps.go), and each commit stores what lies
// before its checkpoint, in its transaction (commit.go).
//
// When a meeting is over and transcribed, Record makes files of its audio
// (pipeline/recording), and Retain takes the logs after that.
//
// Locks: keptFile.mu is taken before records.mu, Pipeline.mu before forwards.mu.
//
// Per track there is one goroutine that transcribes (plus what
// transcribe.Supervisor needs); the Pipeline waits for all of them in Close.
package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/oklog/ulid/v2"

	"verbatim/media/audio"
	"verbatim/pipeline/forward"
	"verbatim/pipeline/insight"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/recording"
	"verbatim/pipeline/store"
	"verbatim/pipeline/tracklog"
	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcript"
)

// storeTimeout bounds every write to the store that must not be cut short by
// whoever asked for it going away.
const storeTimeout = 10 * time.Second

// Config of a Pipeline. It owns none of what it is given.
type Config struct {
	Logs       *tracklog.Store
	Store      *store.Store
	Registry   *meeting.Registry
	Publish    func(meeting.Event)
	Watched    func(room string) bool // whether anybody gets what is published of it; nil: always
	Supervisor *transcribe.Supervisor // nil: nothing is transcribed
	Recordings *recording.Bucket      // nil: none are kept
	Forward    *forward.Forwarder     // nil: no audio is handed to other services
	// Traced is told what happened when to each segment, right after it was
	// published; it must not wait for anything. nil: nobody is.
	Traced func(Times)
	// Now is the clock of everything that is stored (default time.Now). It must
	// never run back.
	Now    func() time.Time
	Logger *slog.Logger
}

// Times are when what happened to a segment, by the clock of the process.
type Times struct {
	Track, Engine string
	Due           time.Time // the end of what was said
	Heard         time.Time // the recognizer had it; zero: not known (transcribe.Config.Times)
	Said          time.Time // the recognizer answered
	Stored        time.Time
	Sent          time.Time // to those who watch
}

// Pipeline is made by New and ended by Close.
type Pipeline struct {
	cfg    Config
	log    *slog.Logger
	ctx    context.Context // of all stages; ends when Close gives up waiting
	cancel context.CancelFunc
	wg     sync.WaitGroup // one per running track

	// late bounds how many tracks of an earlier run are transcribed at a time:
	// there may be hundreds, and each has a recognizer of its own.
	late chan struct{}

	forwards forwards

	wake chan struct{} // of Run: there are stale meetings; capacity 1

	// show is held while an account is read and published, so that no older one
	// is published after it. It is taken before mu.
	show     sync.Mutex
	finished chan struct{} // capacity 1: a track or a recording is done
	erased   chan struct{} // of EraseRest: another node has erased a meeting; capacity 1
	mending  sync.Mutex    // held by who ends a log that has no end
	records  records

	mu     sync.Mutex // guards what follows
	closed bool
	tracks map[string]*track                  // the running ones, by id
	shown  map[string][]meeting.TrackProgress // what was published last, by meeting
	stale  map[string]string                  // rooms by their meetings of which a state has changed since
	done   Ticks                              // of the tracks that ran

	counts *counts

	insight *lru.Cache[string, insight.Stats] // of final meetings; locks itself
}

// ErrClosed is returned for tracks that come after Close.
var ErrClosed = errors.New("the server is shutting down")

// New makes a pipeline; it starts nothing.
func New(cfg Config) *Pipeline {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Watched == nil {
		cfg.Watched = func(string) bool { return true }
	}
	p := &Pipeline{
		cfg: cfg, log: cfg.Logger, tracks: map[string]*track{}, counts: newCounts(),
		wake: make(chan struct{}, 1), finished: make(chan struct{}, 1), erased: make(chan struct{}, 1),
		shown: map[string][]meeting.TrackProgress{}, stale: map[string]string{},
	}
	p.insight, _ = lru.New[string, insight.Stats](keptStats) // fails only for a size that is none
	p.late = make(chan struct{}, runtime.NumCPU())
	p.forwards.late = make(chan struct{}, runtime.NumCPU())
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// OpenTrack begins the track of a session whose first sample came at that wall
// time. The log that it returns is ended by its End packet.
func (p *Pipeline) OpenTrack(ctx context.Context, session string, at time.Time) (*Writer, error) {
	member, err := p.cfg.Registry.Session(session)
	if err != nil {
		return nil, err
	}
	now := p.cfg.Now()
	if at.Before(member.StartedAt) {
		at = member.StartedAt // the first packets may be older than their sender's joining
	}
	row := meeting.Track{
		ID: ulid.MustNew(ulid.Timestamp(now), ulid.DefaultEntropy()).String(), Meeting: member.Meeting, Participant: member.Participant.ID,
		State: meeting.TrackLive, StartedAt: at, ToForward: p.cfg.Forward != nil,
	}
	log, err := p.cfg.Logs.Create(row.Meeting, row.ID)
	if err != nil {
		return nil, err
	}
	if err := p.cfg.Store.CreateTrack(ctx, row); err != nil {
		return nil, errors.Join(err, log.Close(), p.cfg.Logs.Remove(row.Meeting, row.ID))
	}
	// The stages have the log open by themselves: whatever becomes of them, the
	// session goes on writing.
	read, err := p.cfg.Logs.Open(row.Meeting, row.ID)
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	// Nobody else has claimed it: it is new.
	if err := p.start(row, member.Room, member.StartedAt, member.Participant, read, false); err != nil {
		return nil, errors.Join(err, read.Close(), log.Close())
	}
	p.forward(row, forwarded(row, member.Room, member.StartedAt, member.Participant), false)
	return &Writer{p: p, log: log, track: row.ID}, nil
}

// Writer is the log of a live track, as its session sees it. It is over with the
// End packet or the first error.
type Writer struct {
	p     *Pipeline
	log   *tracklog.Log
	track string
}

// Append implements media.Log.
func (w *Writer) Append(ctx context.Context, packets ...audio.Packet) error {
	if err := w.log.Append(ctx, packets...); err != nil {
		return errors.Join(err, w.log.Close())
	}
	last := packets[len(packets)-1]
	if last.Kind != audio.End {
		return nil
	}
	end, err := last.EndInfo()
	if err == nil {
		err = w.p.endTrack(ctx, w.track, end.Reason, w.log)
	}
	return errors.Join(err, w.log.Close())
}

// Durable is the Seq up to which the track's packets are durable on disk (see
// tracklog.Log.Durable).
func (w *Writer) Durable() uint64 { return w.log.Durable() }

func (p *Pipeline) endTrack(ctx context.Context, id string, by audio.Reason, log *tracklog.Log) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	_, _, account, _ := log.State()
	return p.cfg.Store.EndTrack(ctx, id, by.String(), account)
}

// start runs the stages of a track in a goroutine of its own; those of late ones
// wait for their turn.
func (p *Pipeline) start(row meeting.Track, room string, began time.Time, who transcript.Participant, log *tracklog.Log, late bool) error {
	t := &track{late: late, p: p, row: row, room: room, began: began, who: who, log: log, done: make(chan struct{})}
	t.gaps.forget(row.Through)
	t.before.account = log.Arrived()
	t.reach()
	t.before.reached = *t.reached.Load()
	t.ctx, t.cancel = context.WithCancel(p.ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		t.cancel()
		return ErrClosed
	}
	p.tracks[row.ID] = t
	p.wg.Go(func() {
		defer close(t.done)
		t.run()
		t.cancel()
		p.mu.Lock()
		delete(p.tracks, row.ID)
		p.done.add(t)
		p.mu.Unlock()
		t.tellEnd()
	})
	return nil
}

// Close waits until all tracks are transcribed to their end or ctx ends; then
// it stops the rest, which the next start takes up again. Call it when no
// session is left.
func (p *Pipeline) Close(ctx context.Context) (pending int) {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	done := make(chan struct{})
	go func() {
		p.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		p.mu.Lock()
		pending = len(p.tracks)
		p.mu.Unlock()
	}
	p.cancel()
	<-done
	return pending
}
