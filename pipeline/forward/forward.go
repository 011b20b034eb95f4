// Package forward hands the PCM of tracks to services in any language, by NATS
// JetStream: each track in order, every sample once. docs/FORWARD.md is what such
// a service has to know.
//
// # Flow
//
//	track log ─▶ decode ─▶ batch (200 ms; more if it is behind) ─▶ publish, acknowledged
//
// Run is one track's stage, on the goroutine of its caller. It reads the log at
// the pace at which the broker takes what it publishes; a broker that is away
// costs nothing but delay.
//
// # Once
//
// The last message of a track's subject is the only checkpoint. Whoever begins
// reads it, takes the next higher epoch, decodes the log from its beginning (so
// that the samples are those that one decoder makes of the whole track) and goes
// on behind it. Each message names the stream sequence of the one before it on
// its subject (Nats-Expected-Last-Subject-Sequence): the broker takes only one
// message behind another. So a track has one message under way, and catches up by
// larger ones. When an acknowledgement does not come, the last message tells
// whether it was stored. A writer that finds a higher epoch than its own stops.
package forward

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"verbatim/media/audio"
	"verbatim/pipeline/transcript"
)

const (
	ackTimeout = 5 * time.Second
	retryFirst = 100 * time.Millisecond
	retryLast  = 5 * time.Second
)

// ErrTaken says that another writer, of a higher epoch, forwards the track.
var ErrTaken = errors.New("another writer forwards the track")

// errAgain says that what is with the broker is not what was taken to be there.
var errAgain = errors.New("the broker has something else")

// Config of a Forwarder. It owns none of what it is given.
type Config struct {
	Conn     *nats.Conn
	Prefix   string        // first word of subjects and, in capitals, of streams
	MaxAge   time.Duration // after which the broker drops a message; 0: never
	Replicas int
	Logger   *slog.Logger
}

// Forwarder is made by New. Its methods may be called at any time.
type Forwarder struct {
	cfg Config
	js  jetstream.JetStream

	mu        sync.Mutex // guards what follows
	running   map[*writer]bool
	forwarded int64 // by writers that ended
	messages  uint64
	retries   uint64
	failing   bool // it was logged that the broker fails, and not yet that it works again
}

// Stats are the numbers of a Forwarder. What is counted begins with New.
type Stats struct {
	Tracks    int    // that are forwarded now
	Forwarded int64  // samples (16 kHz) that the broker has acknowledged
	Behind    int64  // samples that it has still to get, of the tracks that are forwarded now
	Messages  uint64 // acknowledged
	Retries   uint64 // attempts that failed, or of which no acknowledgement came
}

// New makes a forwarder; it starts nothing.
func New(cfg Config) (*Forwarder, error) {
	js, err := jetstream.New(cfg.Conn)
	if err != nil {
		return nil, fmt.Errorf("forward: %w", err)
	}
	return &Forwarder{cfg: cfg, js: js, running: map[*writer]bool{}}, nil
}

// Track is one that is forwarded.
type Track struct {
	ID, Meeting, Room string
	Participant       transcript.Participant
	MeetingStart      time.Time
	Start             time.Time // wall time of the track's sample 0
}

// Log is a track's packets; tracklog.Log is one.
type Log interface {
	// Read gives the packets from a Seq on, waits for more, and ends after End.
	Read(ctx context.Context, from uint64) iter.Seq2[audio.Packet, error]
	State() (next uint64, start int64, acct audio.Account, ended bool)
}

// Stream is the name of a meeting's stream, and Subject the subject of a track in
// it.
func (f *Forwarder) Stream(meeting string) string {
	return strings.ToUpper(f.cfg.Prefix) + "_" + meeting
}

// Subject is where a track's messages are published.
func (f *Forwarder) Subject(meeting, track string) string {
	return f.cfg.Prefix + ".pcm." + meeting + "." + track
}

// Run forwards a track to its end, from where the broker has it. It tries on
// whatever the broker does, and returns an error if ctx ends, the log cannot be
// read, or with ErrTaken.
func (f *Forwarder) Run(ctx context.Context, t Track, log Log) error {
	w := &writer{f: f, t: t, log: log}
	f.mu.Lock()
	f.running[w] = true
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.running, w)
		f.forwarded += w.forwarded.Load()
	}()
	for try := 0; ; try++ {
		err := w.begin(ctx)
		if err == nil {
			err = w.run(ctx)
			try = 0
		}
		var lerr *logError
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrTaken), errors.As(err, &lerr):
			return err
		case errors.Is(err, errAgain):
			f.cfg.Logger.Warn("what the broker has of a track is not what was sent; beginning with what it has", "track", t.ID)
		}
		f.failed(err)
		if err := pause(ctx, try); err != nil {
			return err
		}
	}
}

// Erase removes a meeting's stream, and its bytes from the broker's disk. That
// there is none is no error. No track of it may be running.
func (f *Forwarder) Erase(ctx context.Context, meeting string) error {
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	err := f.js.DeleteStream(ctx, f.Stream(meeting))
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("delete the stream of a meeting: %w", err)
	}
	return nil
}

// Stats may be called at any time.
func (f *Forwarder) Stats() Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := Stats{Tracks: len(f.running), Forwarded: f.forwarded, Messages: f.messages, Retries: f.retries}
	for w := range f.running {
		s.Forwarded += w.forwarded.Load()
		_, end, _, _ := w.log.State()
		s.Behind += max(0, end/audio.TicksPerSample-w.at.Load())
	}
	return s
}

// failed counts a failure; the first of a row is logged.
func (f *Forwarder) failed(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.retries++
	if !f.failing && !errors.Is(err, errAgain) {
		f.cfg.Logger.Error("audio cannot be forwarded; trying again", "err", err)
		f.failing = true
	}
}

func (f *Forwarder) worked() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.messages++
	if f.failing {
		f.cfg.Logger.Info("audio is forwarded again")
		f.failing = false
	}
}

// pause waits after a number of failures.
func pause(ctx context.Context, try int) error {
	d := min(retryFirst<<min(try, 10), retryLast)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d/2 + rand.N(d)):
		return nil
	}
}

// logError is one of the track's log.
type logError struct{ error }

func (e *logError) Unwrap() error { return e.error }

// stream opens a meeting's stream, making it if there is none.
func (f *Forwarder) stream(ctx context.Context, meeting string) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	name := f.Stream(meeting)
	s, err := f.js.Stream(ctx, name)
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return s, err // as it is, should an operator have changed it
	}
	return f.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: name, Subjects: []string{f.Subject(meeting, "*")}, Storage: jetstream.FileStorage,
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld,
		MaxAge: f.cfg.MaxAge, Replicas: f.cfg.Replicas,
		// No AllowDirect: what it answers may be old.
	})
}

// writer forwards one track. It belongs to the goroutine of Run, but for its
// atomics.
type writer struct {
	f      *Forwarder
	t      Track
	log    Log
	stream jetstream.Stream

	epoch uint64
	id    string  // of this writer, another one for each begin
	seq   uint64  // of the next message
	last  uint64  // stream sequence of the track's last message, 0: there is none
	next  int64   // sample that comes next
	sum   account // of all before it
	ended bool

	at        atomic.Int64 // next, for Stats
	forwarded atomic.Int64 // samples since Run
}

// begin takes up the track where the broker has it.
func (w *writer) begin(ctx context.Context) error {
	var err error
	if w.stream, err = w.f.stream(ctx, w.t.Meeting); err != nil {
		return err
	}
	p, found, err := w.tail(ctx)
	if err != nil {
		return err
	}
	if !found {
		p = position{}
	}
	if p.epoch < w.epoch {
		p.epoch = w.epoch // an epoch is used once
	}
	w.epoch, w.id = p.epoch+1, nuid.Next()
	w.seq, w.last, w.next, w.sum, w.ended = p.seq, p.stream, p.next, p.sum, p.ended
	w.at.Store(w.next)
	return nil
}

// position is what the last message of a track says.
type position struct {
	epoch  uint64
	writer string
	seq    uint64 // of the next message
	stream uint64
	next   int64
	sum    account
	ended  bool
}

// tail reads the last message of the track.
func (w *writer) tail(ctx context.Context) (p position, found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	m, err := w.stream.GetLastMsgForSubject(ctx, w.f.Subject(w.t.Meeting, w.t.ID))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return p, false, nil
	}
	if err != nil {
		return p, false, err
	}
	p, err = parse(m.Header)
	p.stream = m.Sequence
	return p, err == nil, err
}

// publish stores the next message, whatever it takes.
func (w *writer) publish(ctx context.Context, m *nats.Msg) error {
	for try := 0; ; try++ {
		pctx, cancel := context.WithTimeout(ctx, ackTimeout)
		ack, err := w.f.js.PublishMsg(pctx, m, jetstream.WithExpectLastSequencePerSubject(w.last), jetstream.WithRetryAttempts(0))
		cancel()
		if err == nil {
			w.last = ack.Sequence
			w.f.worked()
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		w.f.failed(err)
		if err := pause(ctx, try); err != nil {
			return err
		}
		if stored, err := w.settle(ctx); stored || err != nil {
			return err
		}
	}
}

// settle finds out what became of the message w.seq.
func (w *writer) settle(ctx context.Context) (stored bool, err error) {
	for try := 0; ; try++ {
		p, found, err := w.tail(ctx)
		switch {
		case ctx.Err() != nil:
			return false, ctx.Err()
		case errors.Is(err, jetstream.ErrStreamNotFound):
			return false, errAgain
		case err != nil:
			w.f.failed(err)
			if err := pause(ctx, try); err != nil {
				return false, err
			}
			continue
		case !found && w.last == 0:
			return false, nil
		case !found:
			return false, w.expired(ctx)
		case p.epoch > w.epoch:
			return false, ErrTaken
		case p.writer == w.id && p.seq == w.seq+1:
			w.last = p.stream
			w.f.worked()
			return true, nil
		case p.seq == w.seq && p.stream == w.last:
			return false, nil
		}
		return false, errAgain
	}
}

// expired says that the broker has no message of the track any more, because they
// were too old: then it goes on. Else the broker has lost them, and gets all
// again.
func (w *writer) expired(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	info, err := w.stream.Info(ctx)
	if err != nil {
		return err
	}
	if info.State.LastSeq < w.last {
		return errAgain
	}
	w.last = 0
	return nil
}
