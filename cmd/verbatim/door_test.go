//go:build attack

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
	"verbatim/signaling/auth"
)

// TestFrontDoor attacks the real program at everything that it answers, while
// people speak and read captions in other rooms. docs/SECURITY.md has the table
// that it prints.
func TestFrontDoor(t *testing.T) {
	d := newDoor(t)
	d.row("nobody attacks", func(*row) { time.Sleep(4 * time.Second) })
	d.calm = d.goroutines()
	heads := d.background("heads without an end, a line a second", d.slowHeads())
	bodies := d.background("bodies, a byte every half second", d.slowBodies())
	d.row("10,000 offers", d.offers).only("201", "400", "422", "429", "503").counted("refused: rate")
	deaf := d.background("readers that read nothing", d.deaf)
	d.row("monstrous and weird SDP", d.weird).only("201", "400", "413", "415", "422", "429")
	d.row("paths, methods and heads", d.paths).only("400", "401", "403", "404", "405", "421", "426", "431", "501", "505", "cut off", "nothing", "what is theirs", "301", "307")
	d.row("pages of other sites, DNS rebinding", d.rebinding).only("403", "421")
	d.row("other rooms' meetings", d.crossRoom).only("401", "403", "404", "400", "nothing of theirs")
	d.row("tokens, links, ids that are over or forged", d.replays).only("401", "403", "404", "closed 4404")
	d.row("WebSockets", d.webSockets).only("400", "403", "426", "429", "closed 1009", "closed 4400", "closed 4404", "closed 4408", "cut off")
	d.row("5,000 connections from one address", d.crowd).only("closed at once", "cut off", "kept")
	d.row("TURN: requests without a credential", d.turnFlood).only("an answer", "no answer").counted("TURN unheard")
	d.row("TURN: peers that are not ours", d.turnPeers).only("403", "dropped").counted("TURN denied")
	d.row("connections to the TCP ports of media", d.tcpFlood).only("closed at once", "closed").counted("ICE-TCP refused")
	d.row("STUN, ICE checks, DTLS, noise to the UDP port", func(r *row) { r.sent.Add(int64(d.strangers(60_000) + d.checks(20_000))) })
	d.row("10,000 SSRCs in each of 3 sessions", d.sources).only("ended", "goes on")
	heads().only("cut off")
	bodies().only("400", "429", "cut off")
	deaf().only("200")
	d.settle()
	d.checkWatchers()
	d.leave()
	d.checkEnd(60)
}

// door is the victim with its honest people.
type door struct {
	*victim
	calm     int // goroutines before the attack
	watchers []*watcher
	hangUp   context.CancelFunc
	heard    map[string]<-chan []int16 // by room, what was said there
	ids      []string                  // of honest meetings, tracks and sessions: nobody else is to read them
	client   *http.Client
	before   map[string]float64 // the metrics after the last row
}

// honest are the rooms that are not attacked from within.
var honest = []string{"board", "clinic", "court"}

func newDoor(t *testing.T) *door {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(tokenSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(beRecognizer, "1")
	v := newVictim(t, "command:"+os.Args[0], "--auth-secret-file", file, "--behind-proxy", "--media-tcp", "127.0.0.1:0",
		"--turn-listen", "127.0.0.1:0", "--linger", "1s", "--drain", "5s")
	all := []auth.Act{auth.Publish, auth.Listen, auth.Manage}
	v.token = token(t, "*", "operator", time.Hour, all...)
	v.pass = func(room string) string { return token(t, room, "of-"+room, time.Hour, all...) }
	d := &door{
		victim: v, heard: map[string]<-chan []int16{},
		client: &http.Client{
			Transport:     &http.Transport{MaxIdleConnsPerHost: 100},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Timeout:       30 * time.Second,
		},
	}
	ctx, hangUp := context.WithCancel(t.Context())
	d.hangUp = hangUp
	t.Cleanup(hangUp)
	for _, room := range honest {
		d.heard[room] = v.speak(ctx, room)
		w := &watcher{t: t, ended: make(chan struct{})}
		go w.watch(ctx, v.url, room, v.pass(room))
		d.watchers = append(d.watchers, w)
	}
	for len(d.ids) < 2*len(honest) { // each has a track
		d.ids = nil
		for _, m := range v.meetings() {
			d.ids = append(d.ids, m.ID)
			for _, tr := range m.Tracks {
				d.ids = append(d.ids, tr.ID)
			}
		}
	}
	v.base = v.status("VmRSS")
	t.Cleanup(v.watch())
	fmt.Printf("%-47s %7s  %-42s %-40s %6s %6s %6s %6s\n", "", "sent", "answered", "counted", "s", "MB", "gorout", "delay")
	return d
}

// goroutines is how many the server has.
func (d *door) goroutines() int { return int(d.scrape()["go_goroutines"]) }

// watcher reads the captions of a room all the while.
type watcher struct {
	t     *testing.T
	ended chan struct{} // closed when its stream has ended

	mu     sync.Mutex // guards what follows
	last   int64      // number of the last final
	worst  time.Duration
	recent time.Duration // the worst since it was asked for
}

func (w *watcher) watch(ctx context.Context, url, room, pass string) {
	defer close(w.ended)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/v1/rooms/"+room+"/events", nil)
	if err != nil {
		w.t.Error(err)
		return
	}
	req.Header.Set("Authorization", "Bearer "+pass)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Error(err)
		return
	}
	defer resp.Body.Close()
	var began time.Time
	eachEvent(resp.Body, func(e seen) {
		var state struct{ Meeting *meeting.Meeting }
		var seg transcript.Segment
		switch e.kind {
		case meeting.EventState:
			err = json.Unmarshal(e.data, &state)
			if state.Meeting != nil {
				began = state.Meeting.StartedAt
			}
		case meeting.EventCaption:
			if err = json.Unmarshal(e.data, &seg); err == nil && seg.Final {
				w.final(e.id, time.Since(began.Add(time.Duration(seg.EndMS)*time.Millisecond)))
			}
		}
		if err != nil {
			w.t.Errorf("%s: %v", room, err)
		}
	})
	if ctx.Err() == nil {
		w.t.Errorf("%s: the captions ended", room)
	}
}

// final notes one that came, and how late.
func (w *watcher) final(id string, late time.Duration) {
	_, number, _ := strings.Cut(id, ".")
	n, err := strconv.ParseInt(number, 10, 64)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil || n != w.last+1 {
		w.t.Errorf("final %q follows on number %d", id, w.last)
	}
	w.last, w.worst, w.recent = n, max(w.worst, late), max(w.recent, late)
}

// row is one attack, and what came of it.
type row struct {
	d    *door
	name string
	sent atomic.Int64

	mu       sync.Mutex // guards got and example
	got      map[string]int
	example  map[string]string
	counters map[string]float64 // what the metrics say of it
}

// answer notes one, with what it was an answer to and what was in it.
func (r *row) answer(what, to, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got[what]++
	if r.example[what] == "" {
		r.example[what] = to + ": " + text
	}
}

// counters are the metrics that attacks move, by a short name.
var counters = map[string]string{
	"verbatim_limit_refusals_total{limit=room}":        "refused: room",
	"verbatim_limit_refusals_total{limit=address}":     "refused: address",
	"verbatim_limit_refusals_total{limit=token}":       "refused: token",
	"verbatim_limit_refusals_total{limit=streams}":     "refused: streams",
	"verbatim_limit_refusals_total{limit=rate}":        "refused: rate",
	"verbatim_limit_refusals_total{limit=downloads}":   "refused: downloads",
	"verbatim_limit_refusals_total{limit=connections}": "refused: connections",
	"verbatim_sessions_refused_total{via=whip}":        "full",
	"verbatim_sessions_refused_total{via=ingest}":      "ingest full",
	"verbatim_media_dropped_datagrams_total":           "dropped",
	"verbatim_media_tcp_connections_refused_total":     "ICE-TCP refused",
	"verbatim_turn_refused_total":                      "TURN refused",
	"verbatim_turn_denied_total":                       "TURN denied",
	"verbatim_turn_unheard_packets_total":              "TURN unheard",
	"verbatim_event_streams_cut_off_total":             "streams cut off",
}

func (d *door) newRow(name string) *row {
	return &row{d: d, name: name, got: map[string]int{}, example: map[string]string{}, counters: map[string]float64{}}
}

// row runs an attack and prints what it did.
func (d *door) row(name string, attack func(*row)) *row {
	d.t.Helper()
	r := d.newRow(name)
	if d.before == nil {
		d.before = d.scrape()
	}
	began := time.Now()
	attack(r)
	d.finish(r, time.Since(began))
	return r
}

// background runs an attack beside others; finish waits for it and prints its row,
// whose numbers are those since the row before.
func (d *door) background(name string, attack func(*row)) (finish func() *row) {
	r, began := d.newRow(name), time.Now()
	took := make(chan time.Duration, 1)
	go func() {
		attack(r)
		took <- time.Since(began)
	}()
	return func() *row {
		d.t.Helper()
		d.finish(r, <-took)
		return r
	}
}

func (d *door) finish(r *row, took time.Duration) {
	d.t.Helper()
	select {
	case <-d.out:
		log, _ := os.ReadFile(d.stderr.Name())
		d.t.Fatalf("the server is gone: %s", log)
	default:
	}
	now := d.scrape()
	var answers, counted []string
	for _, what := range slices.Sorted(maps.Keys(r.got)) {
		answers = append(answers, fmt.Sprintf("%s ×%d", what, r.got[what]))
	}
	for _, series := range slices.Sorted(maps.Keys(counters)) {
		if n := now[series] - d.before[series]; n > 0 {
			r.counters[counters[series]] = n
			counted = append(counted, fmt.Sprintf("%s %.0f", counters[series], n))
		}
	}
	for series, n := range now {
		if strings.Contains(series, "http_requests_total") && strings.Contains(series, "code=5") && !strings.Contains(series, "code=503") && n > d.before[series] {
			d.t.Errorf("%s: %s grew by %.0f", r.name, series, n-d.before[series])
		}
	}
	d.before = now
	var late time.Duration
	for _, w := range d.watchers {
		w.mu.Lock()
		late = max(late, w.recent)
		w.recent = 0
		w.mu.Unlock()
	}
	fmt.Printf("%-47s %7d  %-42s %-40s %6.1f %6.1f %6.0f %6d\n", r.name, r.sent.Load(), strings.Join(answers, ", "), strings.Join(counted, ", "),
		took.Seconds(), float64(d.most.Swap(d.status("VmRSS")))/1024, now["go_goroutines"], late.Milliseconds())
}

// only checks that nothing else was answered.
func (r *row) only(allowed ...string) *row {
	r.d.t.Helper()
	for what, n := range r.got {
		if !slices.Contains(allowed, what) {
			r.d.t.Errorf("%s: %d were answered %s, such as %.600s", r.name, n, what, r.example[what])
		}
	}
	if len(r.got) == 0 {
		r.d.t.Errorf("%s: nothing was answered", r.name)
	}
	return r
}

// counted checks that a counter tells of the attack.
func (r *row) counted(short string) {
	r.d.t.Helper()
	if r.counters[short] == 0 {
		r.d.t.Errorf("%s: no counter tells of it: %v", r.name, r.counters)
	}
}

// ask sends a request from an address, as the proxy says, and notes the answer.
// Headers are name and value by turns.
func (d *door) ask(r *row, from, token, method, path, body string, headers ...string) (h http.Header, text string) {
	h, status, text := d.request(from, token, method, path, body, headers...)
	r.sent.Add(1)
	r.answer(status, method+" "+path, text)
	if !strings.HasPrefix(status, "2") {
		return nil, ""
	}
	return h, text
}

func (d *door) request(from, token, method, path, body string, headers ...string) (h http.Header, status, text string) {
	req, err := http.NewRequestWithContext(d.t.Context(), method, d.url+path, strings.NewReader(body))
	if err != nil {
		return nil, "no request", err.Error()
	}
	req.Header.Set("X-Forwarded-For", from)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for pair := range slices.Chunk(headers, 2) {
		req.Header.Set(pair[0], pair[1])
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return nil, "cut off", err.Error()
	}
	defer resp.Body.Close()
	b := make([]byte, 4<<10)
	if resp.Header.Get("Content-Type") == "text/event-stream" { // it never ends: its beginning
		n, _ := resp.Body.Read(b)
		b = b[:n]
	} else if b, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20)); err != nil {
		return nil, "cut off", err.Error()
	}
	d.checkSecret(method+" "+path, b)
	return resp.Header, strconv.Itoa(resp.StatusCode), string(b)
}

// checkSecret checks that an answer tells nothing of the honest.
func (d *door) checkSecret(to string, b []byte) {
	for _, id := range d.ids {
		if bytes.Contains(b, []byte(id)) && !strings.Contains(to, id) {
			d.t.Errorf("%s tells of %s: %.600s", to, id, b)
		}
	}
}

// settle waits until nothing of the attack goes on.
func (d *door) settle() {
	r := d.newRow("afterwards")
	d.client.CloseIdleConnections() // each has a goroutine there
	began := time.Now()
	for d.goroutines() > d.calm+10 && time.Since(began) < time.Minute {
		time.Sleep(200 * time.Millisecond)
	}
	d.finish(r, time.Since(began))
	if n := d.goroutines(); n > d.calm+10 {
		d.t.Errorf("%d goroutines, and there were %d before", n, d.calm)
	}
	log, err := os.ReadFile(d.stderr.Name())
	if fmt.Printf("the server has logged %d bytes\n", len(log)); err != nil || len(log) > 256<<10 {
		d.t.Errorf("the server has logged %d bytes (%v), such as %.2000s", len(log), err, log)
	}
}

func (d *door) checkWatchers() {
	for i, w := range d.watchers {
		w.mu.Lock()
		fmt.Printf("%s: %d captions, each once and in order, at most %d ms after the words\n", honest[i], w.last, w.worst.Milliseconds())
		if w.last < 100 || w.worst > 5*time.Second {
			d.t.Errorf("%s: %d captions, up to %v late", honest[i], w.last, w.worst)
		}
		w.mu.Unlock()
	}
}

// leave has the honest people leave, and checks that they were heard.
func (d *door) leave() {
	d.hangUp()
	for _, w := range d.watchers {
		<-w.ended
	}
	said := map[string][]int16{}
	for room, heard := range d.heard {
		said[room] = <-heard
	}
	for slices.ContainsFunc(d.meetings(), func(m meeting.Meeting) bool { return m.State == meeting.StateLive }) {
		time.Sleep(100 * time.Millisecond)
	}
	found := 0
	for cursor, first := "", true; first || cursor != ""; first = false {
		var ms []meeting.Meeting
		ms, cursor = d.page(cursor)
		for _, m := range ms {
			if said[m.Room] == nil {
				continue
			}
			if found++; len(m.Tracks) != 1 {
				d.t.Errorf("%s has %d tracks", m.Room, len(m.Tracks))
				continue
			}
			d.checkHeard(m.Tracks[0].Coverage, d.wav(m, 0), said[m.Room])
		}
	}
	if found != len(honest) {
		d.t.Errorf("%d honest meetings", found)
	}
}
