package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"

	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
	"verbatim/signaling/whipclient"
)

const ticksPerMS = 48

type publishCmd struct {
	Files []string      `arg:"" name:"file" help:"Ogg Opus files, sent one after the other." type:"existingfile"`
	Room  string        `help:"Room to join." required:""`
	Name  string        `help:"Name to speak under." default:"Publisher"`
	URL   string        `help:"The server." default:"http://127.0.0.1:8080"`
	Token string        `help:"Token, if the server asks for one: better in the environment than here, where everybody on the machine can read it."`
	Count int           `help:"How many participants send the files at the same time." default:"1"`
	Via   string        `help:"How the audio gets to the server: udp, tcp (to the same port) or turn (a TURN server that it names), to see which of them there are." enum:"udp,tcp,turn" default:"udp" placeholder:"WAY"`
	Wait  time.Duration `help:"How long to wait for the transcript after the last word." default:"5m"`
}

// Run publishes and waits until all that was sent is taken in and transcribed.
func (c *publishCmd) Run(ctx context.Context) error {
	if c.Count < 1 || c.Count > 1000 {
		return errors.New("--count is a number from 1 to 1000")
	}
	if u, err := url.Parse(c.URL); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return fmt.Errorf("--url is the server's address, such as http://127.0.0.1:8080, not %q", c.URL)
	}
	client := &whipclient.Client{URL: strings.TrimRight(c.URL, "/"), Token: c.Token}
	if c.Token != "" && c.Count > 1 {
		return errors.New("--count is 1 with a token, which is for one participant")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pubs := make([]*publisher, c.Count)
	screen := newScreen(os.Stdout)
	for i := range pubs {
		pubs[i] = &publisher{cmd: c, client: client, screen: screen, id: rand.Text(), name: c.Name, asked: make(chan struct{}, 1)}
		if c.Count > 1 {
			pubs[i].name = fmt.Sprintf("%s %d", c.Name, i+1)
		}
	}
	var watching, publishing sync.WaitGroup
	watching.Go(func() {
		select { // a server that lets nobody join has said why, once
		case <-screen.first:
		case <-ctx.Done():
			return
		}
		if err := client.Events(ctx, c.Room, screen.show); err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "verbatim: captions:", err)
		}
	})
	errs := make([]error, c.Count)
	for i, p := range pubs {
		publishing.Go(func() {
			if errs[i] = p.run(ctx); errs[i] != nil && c.Count > 1 {
				errs[i] = fmt.Errorf("%s: %w", p.name, errs[i])
			}
		})
	}
	publishing.Wait()
	select { // the last captions were stored before the tracks were complete, and are on their way
	case <-time.After(300 * time.Millisecond):
	case <-ctx.Done():
	}
	err := errors.Join(errs...)
	interrupted := err != nil && ctx.Err() != nil
	cancel()
	watching.Wait()
	if interrupted {
		screen.println(farewell(pubs))
	}
	return err
}

// farewell says what became of it all when Ctrl-C has ended it.
func farewell(pubs []*publisher) string {
	var sent int64
	joined, here := 0, 0
	var why error
	for _, p := range pubs {
		sent += p.sent
		if p.joined {
			joined++
		}
		if p.left != nil {
			here, why = here+1, p.left
		}
	}
	text := fmt.Sprintf("Stopped: %v of audio were sent", time.Duration(sent/ticksPerMS)*time.Millisecond)
	switch {
	case joined == 0:
		return "Stopped before anybody had joined."
	case here > 0:
		return fmt.Sprintf("%s; %d of %d could not tell the server that they leave, which it notices by itself: %v", text, here, joined, why)
	case len(pubs) > 1:
		return fmt.Sprintf("%s, and all %d who had joined have left; the server transcribes what it has.", text, joined)
	}
	return text + ", and the publisher has left; the server transcribes what it has."
}

func (c *publishCmd) via() whipclient.Via {
	if c.Via == "udp" {
		return whipclient.ByUDP
	}
	return whipclient.Via(c.Via)
}

// publisher is one participant.
type publisher struct {
	cmd      *publishCmd
	client   *whipclient.Client
	screen   *screen
	id, name string

	sent   int64 // ticks (48 kHz)
	joined bool
	left   error // nil: it has left, if it had joined

	asked  chan struct{} // the server asks to go elsewhere
	moving bool          // it has
	next   func() (whipclient.Packet, error, bool)
	// packet was not sent yet, if unsent is set; broken says that it is none.
	packet whipclient.Packet
	broken error
	unsent bool
}

// run says everything, in as many sessions as it takes.
func (p *publisher) run(ctx context.Context) error {
	next, stop := iter.Pull2(p.packets)
	defer stop()
	p.next = next
	said := map[string]int64{} // ticks, by meeting
	for moves := 0; ; moves++ {
		s, err := p.join(ctx)
		if err != nil {
			return err
		}
		p.id, p.joined, p.moving = s.Participant, true, false
		p.screen.add(p)
		sent, err := s.Play(ctx, p.rest)
		p.sent += sent
		said[s.Meeting] += sent
		if err == nil {
			p.arrive(ctx, s.Meeting, said[s.Meeting])
		}
		more := p.goesOn(ctx, s.Meeting, err)
		if p.left = p.leave(ctx, s); more && moves < maxMoves { // of a server that is gone, nobody can take leave
			why := "the server shuts down"
			if err != nil {
				why = err.Error()
			}
			p.screen.println(fmt.Sprintf("%s: %s after %v of audio; joining again", p.name, why, time.Duration(p.sent/ticksPerMS)*time.Millisecond))
			continue
		}
		if err = errors.Join(err, p.left); err == nil && more {
			err = fmt.Errorf("servers have shut down %d times", moves+1)
		}
		if err != nil {
			return err
		}
		break
	}
	if p.sent == 0 {
		return errors.New("there is no audio in what was to be sent")
	}
	var errs []error
	for id, sent := range said {
		errs = append(errs, p.wait(ctx, id, sent))
	}
	return errors.Join(errs...)
}

// leave ends a session also after Ctrl-C, so that what was said is transcribed.
func (p *publisher) leave(ctx context.Context, s *whipclient.Session) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return s.Leave(ctx)
}

// arrive gives the server time to take in all that was sent: a session that has
// left is not waited for when the machine is busy.
func (p *publisher) arrive(ctx context.Context, id string, sent int64) {
	ctx, cancel := context.WithTimeout(ctx, arriveTimeout)
	defer cancel()
	_ = p.poll(ctx, id, func(t meeting.Track, n int) (bool, error) {
		return taken(t, n, sent) == nil, nil
	}) // what is missing is told in the end
}

// wait is over when the server has taken in all that was sent and transcribed it.
func (p *publisher) wait(ctx context.Context, id string, sent int64) error {
	wait, cancel := context.WithTimeout(ctx, p.cmd.Wait)
	defer cancel()
	var last meeting.Track
	err := p.poll(wait, id, func(t meeting.Track, n int) (bool, error) {
		last = t
		switch t.State {
		case meeting.TrackComplete:
			return true, taken(t, n, sent)
		case meeting.TrackIncomplete:
			return true, fmt.Errorf("%d ms of what was said could not be transcribed", t.Coverage.SkippedMS)
		}
		return false, nil
	})
	if wait.Err() == nil || ctx.Err() != nil {
		return err
	}
	err = fmt.Errorf("the transcript is not finished after %v (--wait)", p.cmd.Wait)
	if r := last.Transcription; r != nil && r.Engine != "" {
		err = fmt.Errorf("%w: the recognizer %s is in state %s, see the server's log", err, r.Engine, r.State)
	}
	return err
}

// poll looks at the publisher's tracks, as one, until done says so.
func (p *publisher) poll(ctx context.Context, id string, done func(t meeting.Track, n int) (bool, error)) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		var m meeting.Meeting
		if err := p.client.Get(ctx, "/v1/meetings/"+id, &m); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
		if t, n := p.tracks(m); n > 0 {
			if ok, err := done(t, n); ok {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// taken compares what was sent (ticks, 48 kHz) with what the server accounts for in n
// tracks.
func taken(t meeting.Track, n int, sent int64) error {
	c := t.Coverage
	got, want := c.ReceivedMS+c.RecoveredMS, sent/ticksPerMS
	if got >= want-int64(n) { // rounded to milliseconds on both sides
		return nil
	}
	err := fmt.Errorf("%d ms were sent and the server took in %d ms (%d ms lost on the way)", want, got, c.ConcealedMS)
	if t.EndedBy != "" && t.EndedBy != audio.ReasonLeft.String() {
		err = fmt.Errorf("%w: the track had ended before that (ended_by: %s)", err, t.EndedBy)
	}
	return err
}

// screen prints captions as they come.
type screen struct {
	out   io.Writer
	first chan struct{} // closed when the first participant has joined

	mu   sync.Mutex            // guards what follows, and what is printed
	line int                   // length of the interim that stands on the current line
	mine map[string]*publisher // those who speak, by their ids
}

func newScreen(out io.Writer) *screen {
	return &screen{out: out, first: make(chan struct{}), mine: map[string]*publisher{}}
}

// println prints a line below whatever stands there.
func (s *screen) println(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line > 0 { // an interim
		text = "\n" + text
	}
	s.line = 0
	fmt.Fprintln(s.out, text)
}

func (s *screen) add(p *publisher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.mine) == 0 {
		close(s.first)
	}
	s.mine[p.id] = p
}

// show takes an event of the room.
func (s *screen) show(e whipclient.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e.Type {
	case meeting.EventCaption:
		s.caption(e.Data)
	case meeting.EventMoving:
		var m meeting.Moving
		_ = json.Unmarshal(e.Data, &m) // else nobody is asked
		for _, id := range m.Participants {
			if p := s.mine[id]; p != nil {
				select {
				case p.asked <- struct{}{}:
				default:
				}
			}
		}
	}
}

// caption is called with mu held.
func (s *screen) caption(data []byte) {
	var seg transcript.Segment
	if err := json.Unmarshal(data, &seg); err != nil || s.mine[seg.Participant.ID] == nil || seg.Text == "" {
		return
	}
	text := plain(fmt.Sprintf("%s: %s", cmp.Or(seg.Participant.Name, seg.Participant.ID), seg.Text))
	if seg.Final {
		fmt.Fprintf(s.out, "%s\n", s.over(text))
		s.line = 0
		return
	}
	if terminal(s.out) {
		if r := []rune(text); len(r) > 78 {
			text = "…" + string(r[len(r)-77:])
		}
		over := s.over(text)
		s.line = len([]rune(text))
		fmt.Fprint(s.out, over)
	}
}

// plain is text of others without what a terminal would obey.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}

// over writes text over the interim on the line.
func (s *screen) over(text string) string {
	if s.line == 0 {
		return text
	}
	return "\r" + text + strings.Repeat(" ", max(0, s.line-len([]rune(text))))
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}
