package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
		pubs[i] = &publisher{cmd: c, client: client, screen: screen, id: rand.Text(), name: c.Name}
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
}

func (p *publisher) run(ctx context.Context) error {
	s, err := p.client.Join(ctx, p.cmd.Room, p.id, p.name, whipclient.Options{Via: p.cmd.via()})
	if err != nil {
		return err
	}
	p.id, p.joined = s.Participant, true
	p.screen.add(p.id)
	sent, err := p.play(ctx, s)
	p.sent = sent
	if err == nil {
		p.arrive(ctx, s.Meeting, sent)
	}
	// Leaving also after Ctrl-C, so that what was said is transcribed.
	lctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	p.left = s.Leave(lctx)
	if err = errors.Join(err, p.left); err != nil {
		return err
	}
	if sent == 0 {
		return errors.New("there is no audio in what was to be sent")
	}
	return p.wait(ctx, s.Meeting, sent)
}

func (p *publisher) play(ctx context.Context, s *whipclient.Session) (sent int64, err error) {
	for _, name := range p.cmd.Files {
		f, err := os.Open(name)
		if err != nil {
			return sent, err
		}
		n, err := s.Play(ctx, whipclient.ReadOgg(f))
		sent += n
		if err = errors.Join(err, f.Close()); err != nil {
			return sent, fmt.Errorf("%s: %w", name, err)
		}
	}
	return sent, nil
}

// arrive gives the server time to take in all that was sent: a session that has
// left is not waited for when the machine is busy.
func (p *publisher) arrive(ctx context.Context, id string, sent int64) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	_ = p.poll(ctx, id, func(t meeting.Track) (bool, error) {
		return taken(t, sent) == nil, nil
	}) // what is missing is told in the end
}

// wait is over when the server has taken in all that was sent and transcribed it.
func (p *publisher) wait(ctx context.Context, id string, sent int64) error {
	wait, cancel := context.WithTimeout(ctx, p.cmd.Wait)
	defer cancel()
	var last meeting.Track
	err := p.poll(wait, id, func(t meeting.Track) (bool, error) {
		last = t
		switch t.State {
		case meeting.TrackComplete:
			return true, taken(t, sent)
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

// poll looks at the publisher's track until done says so.
func (p *publisher) poll(ctx context.Context, id string, done func(t meeting.Track) (bool, error)) error {
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
		for _, t := range m.Tracks {
			if t.Participant != p.id {
				continue
			}
			if ok, err := done(t); ok {
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

// taken compares what was sent (ticks, 48 kHz) with what the server accounts for.
func taken(t meeting.Track, sent int64) error {
	c := t.Coverage
	got, want := c.ReceivedMS+c.RecoveredMS, sent/ticksPerMS
	if got >= want-1 { // rounded to milliseconds on both sides
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
	line  int           // length of the interim that stands on the current line
	first chan struct{} // closed when the first participant has joined

	mu   sync.Mutex
	mine map[string]bool // the participants who speak
}

func newScreen(out io.Writer) *screen {
	return &screen{out: out, first: make(chan struct{}), mine: map[string]bool{}}
}

// println prints a line below whatever stands there.
func (s *screen) println(text string) {
	if s.line > 0 { // an interim
		text = "\n" + text
	}
	fmt.Fprintln(s.out, text)
}

func (s *screen) add(participant string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.mine) == 0 {
		close(s.first)
	}
	s.mine[participant] = true
}

func (s *screen) shows(participant string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mine[participant]
}

func (s *screen) show(e whipclient.Event) {
	if e.Type != meeting.EventCaption {
		return
	}
	var seg transcript.Segment
	if err := json.Unmarshal(e.Data, &seg); err != nil || !s.shows(seg.Participant.ID) || seg.Text == "" {
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
