package ingest

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"verbatim/media/audio"
)

func TestStream(t *testing.T) {
	inWorld(t, 0, func(t *testing.T, w *world) {
		c, r := w.hello(16000, "")
		if r.Session != "session1" || r.Next != 0 {
			t.Errorf("ready %+v", r)
		}
		c.audio(0, 16000)
		c.audio(8000, 24000)
		time.Sleep(1500 * time.Millisecond)
		if a := <-c.in; a.Type != "ack" || a.Durable != 24000 || a.Next != 24000 || a.Duplicate != 8000 {
			t.Errorf("after a second %+v", a)
		}
		c.audio(24000, 24100)
		c.text(`{"type":"end"}`)
		if a := c.wantClose(websocket.StatusNormalClosure, complete); a.Durable != 24100 || a.Next != 24100 {
			t.Errorf("the last ack is %+v", a)
		}
		if r := w.reason("session1"); r != audio.ReasonLeft {
			t.Errorf("ended: %v", r)
		}
		equal(t, w.pcm("session1"), pcm(0, 24100))
	})
}

// The clock of the timeline is the engine's.
func TestClock(t *testing.T) {
	inWorld(t, 0, func(t *testing.T, w *world) {
		time.Sleep(time.Minute)
		c, _ := w.hello(16000, "")
		began := time.Now().Add(clockOff)
		for i := range int64(10) {
			c.audio(i*1600, (i+1)*1600)
			time.Sleep(100 * time.Millisecond)
		}
		c.text(`{"type":"end"}`)
		c.wantClose(websocket.StatusNormalClosure, complete)
		if !w.began.Equal(began) {
			t.Errorf("the track begins at %v, want %v", w.began, began)
		}
		for _, p := range w.tracks["session1"].packets {
			if at := began.Add(audio.Duration(p.Start)); p.At.Before(at.Add(-100*time.Millisecond)) || p.At.After(at) {
				t.Errorf("packet %d is at %v, want %v", p.Seq, p.At, at)
			}
		}
	})
}

// While a client is away its stream waits for 30 s.
func TestResume(t *testing.T) {
	inWorld(t, 0, func(t *testing.T, w *world) {
		c, r := w.hello(16000, "")
		var sent int64
		for range 4 {
			c.audio(sent, sent+16000)
			sent += 16000
			c.cut()
			time.Sleep(29 * time.Second)
			var again reply
			c, again = w.hello(16000, r.Resume)
			if again.Next != sent || again.Session != r.Session || again.Resume != r.Resume {
				t.Fatalf("resumed with %+v, want %d", again, sent)
			}
			c.audio(max(0, again.Next-5000), again.Next) // nothing comes twice
		}
		time.Sleep(time.Minute) // connected is not away
		c.text(`{"type":"end"}`)
		c.wantClose(websocket.StatusNormalClosure, complete)
		equal(t, w.pcm("session1"), pcm(0, sent))
		if len(w.tracks) != 1 {
			t.Errorf("%d tracks", len(w.tracks))
		}
		// The client may not have heard that; who asks is told, for a while.
		for range 2 {
			c = w.connect()
			c.text(`{"type":"hello","rate":16000,"resume":%q}`, r.Resume)
			if a := c.wantClose(websocket.StatusNormalClosure, complete); a.Type != "ack" || a.Durable != sent {
				t.Errorf("resuming what has ended: %+v", a)
			}
		}
		time.Sleep(31 * time.Second)
		c = w.connect()
		c.text(`{"type":"hello","rate":16000,"resume":%q}`, r.Resume)
		c.wantClose(codeNoStream, noStream)
	})
}

// Who knows how to resume a stream and is not its owner is told nothing of it.
func TestResumeByAnother(t *testing.T) {
	inWorld(t, 0, func(t *testing.T, w *world) {
		w.room.owner = "r/ada"
		c, r := w.hello(16000, "")
		c.audio(0, 16000)
		w.room.owner = "r/eve"
		eve := w.connect()
		eve.text(`{"type":"hello","rate":16000,"resume":%q}`, r.Resume)
		if a := eve.wantClose(codeNoStream, noStream); a.Type != "" {
			t.Errorf("told %+v", a)
		}
		c.audio(16000, 32000)
		c.text(`{"type":"end"}`)
		c.wantClose(websocket.StatusNormalClosure, complete)
		equal(t, w.pcm("session1"), pcm(0, 32000))
	})
}

func TestResumeTooLate(t *testing.T) {
	inWorld(t, 0, func(t *testing.T, w *world) {
		c, r := w.hello(16000, "")
		c.audio(0, 16000)
		c.cut()
		time.Sleep(29999 * time.Millisecond)
		if got := w.reason("session1"); got != 0 {
			t.Errorf("ended too early: %v", got)
		}
		time.Sleep(2 * time.Millisecond)
		if got := w.reason("session1"); got != audio.ReasonTimeout {
			t.Errorf("after 30 s: %v", got)
		}
		// Refused, but with how far it came: nothing need be there twice.
		for _, wait := range []time.Duration{0, 31 * time.Second} {
			time.Sleep(wait)
			c = w.connect()
			c.text(`{"type":"hello","rate":16000,"resume":%q}`, r.Resume)
			if a := c.wantClose(codeNoStream, noStream); wait == 0 && a.Durable != 16000 {
				t.Errorf("ack %+v", a)
			}
		}
		equal(t, w.pcm("session1"), pcm(0, 16000))
	})
}

// TCP may take minutes to notice what a client that comes back knows already.
func TestHalfOpenConnectionIsReplaced(t *testing.T) {
	inWorld(t, 0, func(t *testing.T, w *world) {
		first, r := w.hello(16000, "")
		first.audio(0, 16000)
		synctest.Wait() // until all of it is taken in
		second, again := w.hello(16000, r.Resume)
		if again.Next != 16000 {
			t.Errorf("next is %d", again.Next)
		}
		first.wantClose(codeReplaced, superseded)
		time.Sleep(time.Minute) // the end of the first is not the end of the session
		second.audio(16000, 32000)
		second.text(`{"type":"end"}`)
		second.wantClose(websocket.StatusNormalClosure, complete)
		equal(t, w.pcm("session1"), pcm(0, 32000))
	})
}

// A machine that is gone is noticed although the network takes all that is sent.
func TestDeadPeer(t *testing.T) {
	inWorld(t, 0, func(t *testing.T, w *world) {
		c, _ := w.hello(16000, "")
		c.audio(0, 320)
		c.raw.deaf.Store(true)
		time.Sleep(9 * time.Second)
		if w.conns() != 1 {
			t.Error("the connection is gone already")
		}
		time.Sleep(12 * time.Second)
		synctest.Wait()
		if w.conns() != 0 {
			t.Error("after 21 s the connection is still there")
		}
		time.Sleep(31 * time.Second)
		if r := w.reason("session1"); r != audio.ReasonTimeout {
			t.Errorf("ended: %v", r)
		}
		c.cut()
	})
}

// A client that is silent but alive stays.
func TestQuietClientStays(t *testing.T) {
	inWorld(t, 0, func(t *testing.T, w *world) {
		c, _ := w.hello(16000, "")
		time.Sleep(10 * time.Minute)
		c.text(`{"type":"end"}`)
		c.wantClose(websocket.StatusNormalClosure, complete)
		if len(w.tracks) != 0 {
			t.Error("a track without audio")
		}
	})
}

// Nothing is acknowledged that is not durable, not even at the end.
func TestDiskIsAway(t *testing.T) {
	inWorld(t, 0, func(t *testing.T, w *world) {
		c, r := w.hello(16000, "")
		c.audio(0, 6400)
		time.Sleep(1500 * time.Millisecond)
		w.mu.Lock()
		w.frozen = true
		w.mu.Unlock()
		<-c.in // the one of before
		c.audio(6400, 16000)
		time.Sleep(5 * time.Second)
		for range 5 {
			if a := <-c.in; a.Durable != 6400 || a.Next != 16000 {
				t.Errorf("ack %+v", a)
			}
		}
		c.text(`{"type":"end"}`)
		began := time.Now()
		if a := c.wantClose(websocket.StatusInternalError, notWritten); a.Durable != 6400 {
			t.Errorf("the last ack is %+v", a)
		}
		if d := time.Since(began); d < durableWithin || d > durableWithin+time.Second {
			t.Errorf("given up after %v", d)
		}
		w.mu.Lock()
		w.frozen = false
		w.mu.Unlock()
		c = w.connect()
		c.text(`{"type":"hello","rate":16000,"resume":%q}`, r.Resume)
		if a := c.wantClose(websocket.StatusNormalClosure, complete); a.Durable != 16000 {
			t.Errorf("the last ack is %+v", a)
		}
	})
}

// A file that is sent at once is taken in at the speed of time, and the
// connection lives; what a client was kept from sending is taken in at once.
func TestBackPressure(t *testing.T) {
	inWorld(t, 0, func(t *testing.T, w *world) {
		c, r := w.hello(16000, "")
		began := time.Now()
		c.audio(0, 120*16000)
		if d := time.Since(began); d < 116*time.Second || d > 118*time.Second {
			t.Errorf("two minutes were taken in in %v", d)
		}
		c.cut()
		time.Sleep(25 * time.Second)
		c, _ = w.hello(16000, r.Resume)
		began = time.Now()
		c.audio(120*16000, 145*16000)
		if d := time.Since(began); d > time.Second {
			t.Errorf("25 s of before took %v", d)
		}
		c.text(`{"type":"end"}`)
		c.wantClose(websocket.StatusNormalClosure, complete)
		equal(t, w.pcm("session1"), pcm(0, 145*16000))
	})
}

// One message of 64 KiB at 8 kHz lasts longer than a client may be ahead.
func TestLongMessages(t *testing.T) {
	inWorld(t, 0, func(t *testing.T, w *world) {
		c, _ := w.hello(8000, "")
		const n = (maxMessage - headerLen) / 2
		for i := range int64(10) {
			if err := c.send(i*n, (i+1)*n); err != nil {
				t.Fatal(err)
			}
		}
		c.text(`{"type":"end"}`)
		if a := c.wantClose(websocket.StatusNormalClosure, complete); a.Durable != 10*n {
			t.Errorf("ack %+v", a)
		}
		if got := len(w.pcm("session1")); got != 2*2*10*n {
			t.Errorf("%d bytes", got)
		}
	})
}

func TestFloodOfMessages(t *testing.T) {
	inWorld(t, 0, func(t *testing.T, w *world) {
		c, _ := w.hello(16000, "")
		began := time.Now()
		for range maxMessageBurst + 4*maxMessageRate {
			if err := c.send(0, 1); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(began); d < 3900*time.Millisecond || d > 5*time.Second {
			t.Errorf("taken in in %v", d)
		}
		c.cut()
	})
}

func TestBadMessages(t *testing.T) {
	const binary, text = websocket.MessageBinary, websocket.MessageText
	type msg struct {
		kind websocket.MessageType
		data string
	}
	hello := msg{text, `{"type":"hello","rate":16000}`}
	for name, c := range map[string]struct {
		msgs []msg
		code websocket.StatusCode
		why  string // how it begins
	}{
		"binary hello":       {[]msg{{binary, hello.data}}, codeBadMessage, "the first message"},
		"empty hello":        {[]msg{{text, ""}}, codeBadMessage, "the first message"},
		"no JSON":            {[]msg{{text, "hello"}}, codeBadMessage, "the first message"},
		"list":               {[]msg{{text, "[]"}}, codeBadMessage, "the first message"},
		"no type":            {[]msg{{text, `{"rate":16000}`}}, codeBadMessage, "the first message"},
		"no rate":            {[]msg{{text, `{"type":"hello"}`}}, codeBadMessage, "rate must be"},
		"rate of a string":   {[]msg{{text, `{"type":"hello","rate":"16000"}`}}, codeBadMessage, "the first message"},
		"low rate":           {[]msg{{text, `{"type":"hello","rate":7999}`}}, codeBadMessage, "rate must be"},
		"high rate":          {[]msg{{text, `{"type":"hello","rate":96000}`}}, codeBadMessage, "rate must be"},
		"unknown token":      {[]msg{{text, `{"type":"hello","rate":16000,"resume":"x"}`}}, codeNoStream, noStream},
		"second hello":       {[]msg{hello, hello}, codeBadMessage, "the only text message"},
		"other text":         {[]msg{hello, {text, "{}"}}, codeBadMessage, "the only text message"},
		"empty audio":        {[]msg{hello, {binary, ""}}, codeBadMessage, "a binary message"},
		"no samples":         {[]msg{hello, {binary, "12345678"}}, codeBadMessage, "a binary message"},
		"half a sample":      {[]msg{hello, {binary, "\x00\x00\x00\x00\x00\x00\x00\x00123"}}, codeBadMessage, "a binary message"},
		"counter out of use": {[]msg{hello, {binary, "1234567890"}}, codeBadMessage, "the counter"},
		"too long": {
			[]msg{hello, {binary, strings.Repeat("\x00", maxMessage+2)}}, websocket.StatusMessageTooBig, "",
		},
		"too long hello": {[]msg{{text, strings.Repeat(" ", maxMessage+2)}}, websocket.StatusMessageTooBig, ""},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 0, func(t *testing.T, w *world) {
				conn := w.connect()
				for _, m := range c.msgs {
					_ = conn.ws.Write(t.Context(), m.kind, []byte(m.data)) // it may be closed already
				}
				conn.rest()
				if conn.code != c.code || !strings.HasPrefix(conn.why, c.why) {
					t.Errorf("closed with %d %q, want %d %q", conn.code, conn.why, c.code, c.why)
				}
			})
		})
	}
}

// What comes behind a bad message is not taken in: the client could not know.
func TestNothingCountsBehindABadMessage(t *testing.T) {
	for range 50 { // it is a race
		inWorld(t, 0, func(t *testing.T, w *world) {
			c, r := w.hello(16000, "")
			c.audio(0, 320)
			_ = c.ws.Write(t.Context(), websocket.MessageBinary, []byte("bad"))
			_ = c.send(640, 960)
			c.rest()
			if c.code != codeBadMessage {
				t.Errorf("closed with %d", c.code)
			}
			c, r = w.hello(16000, r.Resume)
			if r.Next != 320 {
				t.Errorf("resumed at %d", r.Next)
			}
			c.cut()
		})
	}
}

func TestOtherRateOnResume(t *testing.T) {
	inWorld(t, 0, func(t *testing.T, w *world) {
		c, r := w.hello(16000, "")
		c.cut()
		c = w.connect()
		c.text(`{"type":"hello","rate":48000,"resume":%q}`, r.Resume)
		c.wantClose(codeBadMessage, "this stream's rate is 16000")
	})
}

func TestNoHello(t *testing.T) {
	inWorld(t, 0, func(t *testing.T, w *world) {
		began := time.Now()
		c := w.connect()
		c.wantClose(codeTimeout, "no hello within 5 s")
		if d := time.Since(began); d != helloWithin {
			t.Errorf("closed after %v", d)
		}
	})
}

func TestClosedFromInside(t *testing.T) {
	for _, c := range []struct {
		reason audio.Reason
		code   websocket.StatusCode
		why    string
	}{
		{audio.ReasonLeft, websocket.StatusNormalClosure, complete},
		{audio.ReasonReplaced, codeReplaced, replaced},
		{audio.ReasonServer, codeOver, meetingOver},
	} {
		t.Run(c.reason.String(), func(t *testing.T) {
			inWorld(t, 0, func(t *testing.T, w *world) {
				conn, r := w.hello(16000, "")
				conn.audio(0, 1600)
				synctest.Wait()
				if !w.engine.CloseSession("session1", c.reason) {
					t.Error("there is no such session")
				}
				if w.engine.CloseSession("session1", audio.ReasonLeft) {
					t.Error("a session that was ended was there to be ended again")
				}
				if a := conn.wantClose(c.code, c.why); a.Durable != 1600 {
					t.Errorf("the last ack is %+v", a)
				}
				if got := w.reason("session1"); got != c.reason {
					t.Errorf("ended: %v", got)
				}
				if w.engine.CloseSession("session1", c.reason) {
					t.Error("closed twice")
				}
				conn = w.connect()
				conn.text(`{"type":"hello","rate":16000,"resume":%q}`, r.Resume)
				conn.wantClose(c.code, c.why)
			})
		})
	}
}

// A session whose client is away ends at once when it is replaced.
func TestReplacedWhileAway(t *testing.T) {
	inWorld(t, 0, func(t *testing.T, w *world) {
		c, _ := w.hello(16000, "")
		c.audio(0, 1600)
		c.cut()
		synctest.Wait()
		w.engine.CloseSession("session1", audio.ReasonReplaced)
		if got := w.reason("session1"); got != audio.ReasonReplaced {
			t.Errorf("ended: %v", got)
		}
	})
}

func TestShutdown(t *testing.T) {
	inWorld(t, 0, func(t *testing.T, w *world) {
		c, _ := w.hello(16000, "")
		c.audio(0, 1600)
		away, _ := w.hello(16000, "")
		away.cut()
		mute := w.connect() // says nothing
		began := time.Now()
		if err := w.engine.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d > time.Second {
			t.Errorf("closed after %v", d)
		}
		if a := c.wantClose(websocket.StatusGoingAway, shuttingDown); a.Durable != 1600 {
			t.Errorf("the last ack is %+v", a)
		}
		mute.wantClose(websocket.StatusGoingAway, shuttingDown)
		late := w.connect()
		late.wantClose(websocket.StatusGoingAway, shuttingDown)
		for _, s := range []string{"session1", "session2"} {
			if got := w.reason(s); got != audio.ReasonServer {
				t.Errorf("%s ended: %v", s, got)
			}
		}
	})
}

// Close ends although a disk is away and a client is dead.
func TestShutdownIsCutOff(t *testing.T) {
	inWorld(t, 0, func(t *testing.T, w *world) {
		c, _ := w.hello(16000, "")
		c.audio(0, 1600)
		w.mu.Lock()
		w.frozen = true
		w.mu.Unlock()
		c.raw.deaf.Store(true)
		began := time.Now()
		if err := w.engine.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d > durableWithin+writeWithin {
			t.Errorf("closed after %v", d)
		}
		c.cut()
	})
}

func TestTooMany(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		a, _ := w.hello(16000, "")
		b, _ := w.hello(16000, "")
		c := w.connect()
		c.text(`{"type":"hello","rate":16000}`)
		c.wantClose(websocket.StatusTryAgainLater, tooMany)
		mutes := []*client{w.connect(), w.connect()} // 4 connections
		w.connect().wantClose(websocket.StatusTryAgainLater, tooMany)
		for _, c := range append(mutes, a, b) {
			c.cut()
		}
	})
}

func TestSinkFails(t *testing.T) {
	inWorld(t, 0, func(t *testing.T, w *world) {
		c, _ := w.hello(16000, "")
		c.audio(0, 320)
		w.mu.Lock()
		w.broken = errors.New("no")
		w.mu.Unlock()
		c.audio(320, 640)
		c.wantClose(websocket.StatusInternalError, notWritten)
		c, _ = w.hello(16000, "")
		c.audio(0, 320)
		c.wantClose(websocket.StatusInternalError, notWritten)
		for _, s := range []string{"session1", "session2"} {
			if got := w.reason(s); got != audio.ReasonServer {
				t.Errorf("%s ended: %v", s, got)
			}
		}
	})
}

func TestJoinFails(t *testing.T) {
	inWorld(t, 0, func(t *testing.T, w *world) {
		w.room.err = errors.New("no")
		c := w.connect()
		c.text(`{"type":"hello","rate":16000}`)
		c.rest()
		if c.code != websocket.StatusInternalError {
			t.Errorf("closed with %d %q", c.code, c.why)
		}
	})
}

// Who joins again while this session is set up could not close it.
func TestReplacedWhileJoining(t *testing.T) {
	inWorld(t, 0, func(t *testing.T, w *world) {
		w.room.stale = true
		c := w.connect()
		c.text(`{"type":"hello","rate":16000}`)
		c.wantClose(codeReplaced, replaced)
	})
}

func FuzzHello(f *testing.F) {
	for _, s := range []string{`{"type":"hello","rate":16000}`, `{"type":"end"}`, `{"type":"hello","rate":8e3,"resume":"x"}`, "", "[]", "null"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHello(b)
		if err != nil {
			checkReason(t, err)
		} else if _, err := newStream(h.Rate, 0); err != nil {
			t.Errorf("%d Hz pass and are not possible: %v", h.Rate, err)
		}
		if err := parseText(b); err != nil {
			checkReason(t, err)
		}
	})
}

// checkReason checks that an error fits into a close frame.
func checkReason(t *testing.T, err error) {
	t.Helper()
	if len(err.Error()) > 123 {
		t.Errorf("%d bytes: %v", len(err.Error()), err)
	}
}

func FuzzAudio(f *testing.F) {
	f.Add(byte(0), frame(0, 100), frame(100, 200), frame(50, 400))
	f.Add(byte(2), frame(7, 100), frame(1<<40, 1<<40+5), []byte("123"))
	f.Fuzz(func(t *testing.T, rate byte, a, b, c []byte) {
		s := mustStream(t, []int{8000, 16000, 48000}[rate%3]) // whose filters are made quickly
		r, now, n := &recorder{t: t}, t0, 0
		for _, m := range [][]byte{a, b, c} {
			counter, pcm, err := parseAudio(m[:min(len(m), maxMessage)])
			if err != nil {
				checkReason(t, err)
				continue
			}
			s.push(now, counter, pcm, r.emit)
			s.appended()
			now = now.Add(time.Second)
			n += len(pcm)
		}
		s.end(now, audio.ReasonLeft, r.emit)
		if a := s.ack(s.packets); a.Durable != s.next {
			t.Errorf("all is durable: %+v", a)
		}
		if most := int64(n)*audio.TickRate/8000 + 15*audio.TickRate; r.account.Total() > most {
			t.Errorf("%d ticks out of %d bytes", r.account.Total(), n)
		}
	})
}

// What close frames say has to fit into them: 123 bytes.
func TestReasonsFit(t *testing.T) {
	for _, s := range []string{shuttingDown, noStream, tooMany, replaced, superseded, meetingOver, notWritten, complete} {
		checkReason(t, errors.New(s))
	}
}
