package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"verbatim/internal/speech"
	"verbatim/media/codec"
	"verbatim/media/ingest"
	"verbatim/pipeline/meeting"
)

// pcmClient is one WebSocket connection of a client without WebRTC.
type pcmClient struct {
	t     testing.TB
	ws    *websocket.Conn
	tcp   net.Conn
	ready reply
	acks  chan reply // closed when the connection is over
	code  websocket.StatusCode
}

// reply is any message of the server's.
type reply struct {
	Type, Session, Meeting, Resume, Node string
	Next, Durable, Duplicate             int64
}

func (s *process) dialIngest(query string, o *websocket.DialOptions) (*websocket.Conn, net.Conn, *http.Response, error) {
	var tcp net.Conn
	o.HTTPClient = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
		tcp, err = (&net.Dialer{}).DialContext(ctx, network, addr)
		return tcp, err
	}}}
	ws, resp, err := websocket.Dial(s.t.Context(), s.url+"/v1/rooms/"+s.room+"/ingest"+query, o)
	return ws, tcp, resp, err
}

// ingest begins a stream, or resumes that of the token. ready is empty if that
// is refused.
func (s *process) ingest(query string, rate int, resume string) *pcmClient {
	s.t.Helper()
	protocols := []string{ingest.Protocol}
	if s.token != "" {
		protocols = append(protocols, "verbatim.token."+s.token)
	}
	ws, tcp, _, err := s.dialIngest(query, &websocket.DialOptions{Subprotocols: protocols})
	if err != nil {
		s.t.Fatal(err)
	}
	c := &pcmClient{t: s.t, ws: ws, tcp: tcp, acks: make(chan reply, 1000)}
	go func() {
		defer close(c.acks)
		for {
			_, b, err := ws.Read(context.Background())
			if err != nil {
				c.code = websocket.CloseStatus(err)
				return
			}
			var r reply
			if err := json.Unmarshal(b, &r); err != nil {
				s.t.Error(err)
			}
			c.acks <- r
		}
	}()
	hello := fmt.Appendf(nil, `{"type":"hello","rate":%d,"resume":%q}`, rate, resume)
	if err := ws.Write(s.t.Context(), websocket.MessageText, hello); err != nil {
		s.t.Fatal(err)
	}
	if first := <-c.acks; first.Type == "ready" {
		c.ready = first
	}
	return c
}

// send sends pcm[from:to], which is the stream from its beginning, in messages of
// up to 20 ms of 48 kHz.
func (c *pcmClient) send(pcm []int16, from, to int) {
	c.t.Helper()
	for ; from < to; from += 960 {
		b := binary.BigEndian.AppendUint64(nil, uint64(from))
		for _, v := range pcm[from:min(from+960, to)] {
			b = binary.LittleEndian.AppendUint16(b, uint16(v))
		}
		if err := c.ws.Write(context.Background(), websocket.MessageBinary, b); err != nil {
			c.t.Fatal(err)
		}
	}
}

// cut resets the connection; what is under way may be lost.
func (c *pcmClient) cut() {
	_ = c.tcp.(*net.TCPConn).SetLinger(0)
	_ = c.tcp.Close()
	for range c.acks {
	}
}

// closed waits for the server's close frame, and gives the last ack.
func (c *pcmClient) closed(want websocket.StatusCode) (last reply) {
	c.t.Helper()
	for last = range c.acks {
	}
	if c.code != want {
		c.t.Errorf("closed with %d, want %d", c.code, want)
	}
	return last
}

// taken waits until the server has taken in that many samples.
func (c *pcmClient) taken(samples int64) {
	c.t.Helper()
	for a := range c.acks {
		if a.Next >= samples {
			return
		}
	}
	c.t.Fatalf("the connection ended before %d samples were taken in", samples)
}

// end ends the stream; all of it has to be durable.
func (c *pcmClient) end(samples int) {
	c.t.Helper()
	if err := c.ws.Write(c.t.Context(), websocket.MessageText, []byte(`{"type":"end"}`)); err != nil {
		c.t.Fatal(err)
	}
	if last := c.closed(websocket.StatusNormalClosure); last.Durable != int64(samples) {
		c.t.Errorf("%d of %d samples are durable at the end", last.Durable, samples)
	}
}

func (s *process) complete(what string) meeting.Meeting {
	s.t.Helper()
	return s.until(what+": complete", func(m meeting.Meeting) bool {
		return !slices.ContainsFunc(m.Tracks, func(tr meeting.Track) bool { return tr.State != meeting.TrackComplete })
	})
}

// Two connections are reset on the way, and not a sample is lost or doubled.
func TestIngestIsBitExact(t *testing.T) {
	s := serve(t, t.TempDir(), "none:")
	pcm := speech.PCM("sas-0880")
	c := s.ingest("?name=Ada&participant=ada", 16000, "")
	token, third := c.ready.Resume, len(pcm)/3
	for i := range 2 {
		c.send(pcm, int(c.ready.Next), (i+1)*third)
		c.cut()
		c = s.ingest("", 16000, token)
		if c.ready.Next > int64((i+1)*third) || c.ready.Resume != token {
			t.Fatalf("resumed with %+v", c.ready)
		}
	}
	c.send(pcm, max(0, int(c.ready.Next)-1000), len(pcm))
	c.end(len(pcm))
	m := s.complete("the track")
	if len(m.Tracks) != 1 || m.Tracks[0].EndedBy != "left" || m.Participants[0].Name != "Ada" {
		t.Errorf("meeting %+v", m)
	}
	if cov := m.Tracks[0].Coverage; cov.ReceivedMS != cov.DurationMS || cov.DurationMS != int64(len(pcm)/16) {
		t.Errorf("coverage %+v", cov)
	}
	if !slices.Equal(s.wav(m, 0), pcm) {
		t.Error("audio.wav is not what was sent")
	}
	s.stop()
}

// Holes are lost time, exactly as long as they are.
func TestIngestHoles(t *testing.T) {
	s := serve(t, t.TempDir(), "none:")
	pcm := speech.PCM("sas-0880")
	c := s.ingest("", 16000, "")
	c.send(pcm, 8000, 16000)
	c.send(pcm, 24000, len(pcm))
	c.end(len(pcm))
	m := s.complete("the track")
	if cov := m.Tracks[0].Coverage; cov.ConcealedMS != 1000 || cov.ReceivedMS != int64(len(pcm)/16)-1000 {
		t.Errorf("coverage %+v", cov)
	}
	got := s.wav(m, 0)
	if len(got) != len(pcm) || !slices.Equal(got[8000:16000], pcm[8000:16000]) || !slices.Equal(got[24000:], pcm[24000:]) {
		t.Error("what was sent is not in its place")
	}
	s.stop()
}

// Other rates are resampled once, by a resampler that a break of the connection
// does not disturb.
func TestIngestRates(t *testing.T) {
	s := serve(t, t.TempDir(), "none:")
	speak := speech.PCM("sas-0880")
	for i, rate := range []int{8000, 44100, 48000} {
		up, err := codec.NewResampler(16000, rate)
		if err != nil {
			t.Fatal(err)
		}
		down, err := codec.NewResampler(rate, 16000)
		if err != nil {
			t.Fatal(err)
		}
		sent := up.Resample(nil, speak)
		want := down.Resample(nil, sent)
		c := s.ingest(fmt.Sprintf("?name=%d", rate), rate, "")
		c.send(sent, 0, len(sent)/2)
		c.cut()
		c = s.ingest("", rate, c.ready.Resume)
		c.send(sent, int(c.ready.Next), len(sent))
		c.end(len(sent))
		got := s.wav(s.complete(fmt.Sprintf("%d Hz", rate)), i)
		if !slices.Equal(got, want) {
			t.Errorf("%d Hz: audio.wav is not what was sent, resampled", rate)
		}
		r, lag := correlate(speak, got)
		t.Logf("%d Hz: correlation with the original %.4f, %d samples late", rate, r, lag)
		if r < 0.9 || lag > 6*16 { // both resamplers are late
			t.Errorf("%d Hz: correlation with the original %.3f, %d samples late", rate, r, lag)
		}
	}
	s.stop()
}

// correlate is the normalized correlation of b with a, and by how many samples b
// is late.
func correlate(a, b []int16) (best float64, lag int) {
	for d := range 160 {
		var ab, aa, bb float64
		for i := range min(len(a), len(b)-d) {
			x, y := float64(a[i]), float64(b[i+d])
			ab, aa, bb = ab+x*y, aa+x*x, bb+y*y
		}
		if r := ab / math.Sqrt(aa*bb); r > best {
			best, lag = r, d
		}
	}
	return best, lag
}

// What a server that was killed had acknowledged is there after a restart; the
// client goes on with a new track, and both together are what was said.
func TestIngestKilledServer(t *testing.T) {
	data := t.TempDir()
	s := serve(t, data, "none:")
	pcm := speech.PCM("sas-0870")
	c := s.ingest("?participant=ada", 16000, "")
	// At the speed of speech, so that some of it is on its way when the power goes.
	var durable int
	began := time.Now()
	for at := 0; durable < 2*16000; {
		to := min(len(pcm), int(time.Since(began).Milliseconds())*16)
		c.send(pcm, at, to)
		at = to
		select {
		case a := <-c.acks:
			durable = int(a.Durable)
		case <-time.After(20 * time.Millisecond):
		}
		if at == len(pcm) {
			t.Fatalf("only %d samples were acknowledged", durable)
		}
	}
	s.kill()
	for a := range c.acks {
		durable = int(a.Durable)
	}

	s = serve(t, data, "none:")
	if again := s.ingest("?participant=ada", 16000, c.ready.Resume); again.ready.Type != "" {
		t.Fatalf("resumed with %+v", again.ready)
	} else {
		again.closed(4404)
	}
	rest := pcm[durable:]
	c = s.ingest("?participant=ada", 16000, "")
	c.send(rest, 0, len(rest))
	c.end(len(rest))
	m := s.complete("both tracks")
	if len(m.Tracks) != 2 || m.Tracks[0].EndedBy != "server" {
		t.Fatalf("meeting %+v", m)
	}
	first := s.wav(m, 0)
	if len(first) < durable || !slices.Equal(first, pcm[:len(first)]) {
		t.Errorf("%d samples were acknowledged, %d are there", durable, len(first))
	}
	if !slices.Equal(s.wav(m, 1), rest) {
		t.Error("the second track is not the rest")
	}
	s.stop()
}

// A new connection of the same stream replaces the old one, a new session of the
// participant of any kind the session; the end of the meeting ends it, too.
func TestIngestIsReplaced(t *testing.T) {
	s := serve(t, t.TempDir(), "none:")
	pcm := speech.PCM("sas-0880")
	half := s.ingest("?participant=ada", 16000, "")
	half.send(pcm, 0, 1600)
	c := s.ingest("", 16000, half.ready.Resume)
	half.closed(4409)
	c.send(pcm, int(c.ready.Next), 3200)
	c.taken(3200)

	newer := s.ingest("?participant=ada", 16000, "")
	if last := c.closed(4409); last.Durable != 3200 {
		t.Errorf("the last ack is %+v", last)
	}
	newer.send(pcm, 0, 1600)
	newer.taken(1600)
	s.until("two tracks", func(m meeting.Meeting) bool { return len(m.Tracks) == 2 })

	whip, err := http.Post(s.url+"/v1/rooms/r/whip?participant=ada", "application/sdp", strings.NewReader(offer(t)))
	if err != nil {
		t.Fatal(err)
	}
	whip.Body.Close()
	if last := newer.closed(4409); last.Durable != 1600 {
		t.Errorf("the last ack is %+v", last)
	}
	newest := s.ingest("?participant=ada", 16000, "")
	gone, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, whip.Header.Get("Location"), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.until("the WHIP session is gone", func(meeting.Meeting) bool {
		resp, err := http.DefaultClient.Do(gone)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusNotFound
	})
	newest.send(pcm, 0, 1600)
	newest.taken(1600)
	m := s.until("three tracks", func(m meeting.Meeting) bool { return len(m.Tracks) == 3 })
	resp, err := http.Post(s.url+"/v1/meetings/"+m.ID+"/end", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if last := newest.closed(4410); last.Durable != 1600 {
		t.Errorf("the last ack is %+v", last)
	}
	m = s.complete("the meeting")
	for i, by := range []string{"replaced", "replaced", "server"} {
		if m.Tracks[i].EndedBy != by {
			t.Errorf("track %d was ended by %s, want %s", i, m.Tracks[i].EndedBy, by)
		}
	}

	c = s.ingest("?participant=ada", 16000, "")
	leave, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, s.url+"/v1/sessions/"+c.ready.Session, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err = http.DefaultClient.Do(leave); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("DELETE: %v %v", resp, err)
	}
	resp.Body.Close()
	c.closed(websocket.StatusNormalClosure)
	s.stop()
}

// More than a few seconds ahead of the clock nothing is read, and nothing closed.
func TestIngestBackPressure(t *testing.T) {
	s := serve(t, t.TempDir(), "none:")
	pcm := speech.PCM("sas-0890")
	c := s.ingest("", 16000, "")
	began := time.Now()
	c.send(pcm, 0, len(pcm))
	c.end(len(pcm))
	ahead := time.Duration(len(pcm))*time.Second/16000 - 3*time.Second
	if took := time.Since(began); took < ahead-100*time.Millisecond {
		t.Errorf("%d samples were taken in in %v", len(pcm), took)
	}
	if !slices.Equal(s.wav(s.complete("the track"), 0), pcm) {
		t.Error("audio.wav is not what was sent")
	}
	s.stop()
}

// A shutdown takes in what has arrived, and says so.
func TestIngestShutdown(t *testing.T) {
	data := t.TempDir()
	s := serve(t, data, "none:")
	pcm := speech.PCM("sas-0880")
	c := s.ingest("", 16000, "")
	c.send(pcm, 0, 32000)
	s.until("2 s of audio", func(m meeting.Meeting) bool { return m.Coverage.DurationMS == 2000 })
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if last := c.closed(websocket.StatusGoingAway); last.Durable != 32000 {
		t.Errorf("the last ack is %+v", last)
	}
	<-s.out
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("the server ended with %v", err)
	}
	s = serve(t, data, "none:")
	m := s.meetings()[0]
	if m.Tracks[0].EndedBy != "server" || !slices.Equal(s.wav(m, 0), pcm[:32000]) {
		t.Errorf("after the restart: %+v", m.Tracks[0])
	}
	s.stop()
}

func TestIngestHandshake(t *testing.T) {
	s := serve(t, t.TempDir(), "none:", "--cors-origin", "https://app.example")
	protocol := []string{ingest.Protocol}
	for _, c := range []struct {
		name, query, origin string
		protocols           []string

		status int
		kind   string
	}{
		{"good", "", "", protocol, 101, ""},
		{"with a token", "", "", []string{"token.abc", ingest.Protocol}, 101, ""},
		{"own page", "", s.url, protocol, 101, ""},
		{"allowed page", "", "https://app.example", protocol, 101, ""},
		{"foreign page", "", "https://evil.example", protocol, 403, "foreign-origin"},
		{"sandboxed page", "", "null", protocol, 403, "foreign-origin"},
		{"no subprotocol", "", "", nil, 400, "no-subprotocol"},
		{"another subprotocol", "", "", []string{"verbatim.pcm.v2"}, 400, "no-subprotocol"},
		{"bad participant", "?participant=..", "", protocol, 400, "bad-participant"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := &websocket.DialOptions{Subprotocols: c.protocols, HTTPHeader: http.Header{}}
			if c.origin != "" {
				o.HTTPHeader.Set("Origin", c.origin)
			}
			ws, _, resp, err := s.dialIngest(c.query, o)
			if err == nil {
				defer ws.CloseNow()
				if p := ws.Subprotocol(); p != ingest.Protocol {
					t.Errorf("subprotocol %q", p)
				}
			}
			checkProblem(t, resp, c.status, c.kind)
		})
	}
	resp, err := http.Get(s.url + "/v1/rooms/r/ingest")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if up := resp.Header.Get("Upgrade"); up != "websocket" {
		t.Errorf("Upgrade: %q", up)
	}
	checkProblem(t, resp, http.StatusUpgradeRequired, "not-websocket")
	if ms := s.meetings(); len(ms) != 0 {
		t.Errorf("connections without a hello began %d meetings", len(ms))
	}
	s.stop()
}

func checkProblem(t *testing.T, resp *http.Response, status int, kind string) {
	t.Helper()
	if resp.StatusCode != status {
		t.Errorf("%s, want %d", resp.Status, status)
	}
	if kind == "" {
		return
	}
	var p struct{ Type, Detail string }
	if err := json.NewDecoder(resp.Body).Decode(&p); err != nil || p.Type != "urn:verbatim:problem:"+kind || p.Detail == "" {
		t.Errorf("problem %+v %v, want %s", p, err, kind)
	}
}

// Garbage behind the handshake disturbs nobody.
func TestIngestGarbage(t *testing.T) {
	s := serve(t, t.TempDir(), "none:")
	good := s.ingest("?participant=ada", 16000, "")
	r := rand.New(rand.NewPCG(5, 6))
	for i := range 100 {
		c := s.ingest("", 16000, "")
		b := make([]byte, r.IntN(3000))
		for j := range b {
			b[j] = byte(r.Uint32())
		}
		if i%2 == 0 { // no frames at all
			_, _ = c.tcp.Write(b)
		} else {
			_ = c.ws.Write(t.Context(), websocket.MessageType(1+r.IntN(2)), b)
		}
		if i%3 == 0 {
			c.cut()
		}
	}
	pcm := speech.PCM("sas-0880")
	good.send(pcm, 0, len(pcm))
	good.end(len(pcm))
	m := s.until("the track is complete", func(m meeting.Meeting) bool {
		return slices.ContainsFunc(m.Tracks, func(tr meeting.Track) bool { return tr.Participant == "ada" && tr.State == meeting.TrackComplete })
	})
	i := slices.IndexFunc(m.Tracks, func(tr meeting.Track) bool { return tr.Participant == "ada" })
	if !slices.Equal(s.wav(m, i), pcm) {
		t.Error("audio.wav is not what was sent")
	}
	s.stop()
}
