//go:build postgres

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/mewkiz/flac"
	"github.com/mewkiz/flac/meta"

	"verbatim/internal/contract"
	"verbatim/internal/pgtest"
	"verbatim/internal/speech"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/store"
	"verbatim/signaling/auth"
)

// unled is request without a range, whose redirect is not followed. The body is read
// and gone.
func (s *process) unled(method, path string, headers ...string) *http.Response {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for pair := range slices.Chunk(headers, 2) {
		req.Header.Set(pair[0], pair[1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(b))
	return resp
}

// shop is a bucket whose mixes can be held up.
type shop struct {
	*s3mem.Backend
	t    *testing.T
	url  string
	mu   sync.Mutex    // guards what follows
	held chan struct{} // nil: mixes are not held up. They wait until it is closed
	come chan struct{} // one has come, and waits
}

func newShop(t *testing.T) *shop {
	s := &shop{Backend: s3mem.New(), t: t}
	if err := s.CreateBucket("meetings"); err != nil {
		t.Fatal(err)
	}
	s3 := gofakes3.New(s.Backend).Server()
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		held, come := s.held, s.come
		s.mu.Unlock()
		if held != nil && r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/audio.flac") {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			select {
			case come <- struct{}{}:
			default:
			}
			<-held // also if whoever sent it is gone: it has arrived
			r = r.WithContext(t.Context())
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		s3.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	s.url = "s3://meetings?region=us-east-1&use_path_style=true&endpoint=" + url.QueryEscape(front.URL)
	return s
}

// hold holds mixes up until release; one has come when come can be read.
func (s *shop) hold() (come <-chan struct{}, release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := make(chan struct{})
	s.held, s.come = held, make(chan struct{}, 1)
	release = sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		close(held)
		s.held = nil
	})
	s.t.Cleanup(release)
	return s.come, release
}

// of are the files of a meeting, without the meeting.
func (s *shop) of(id string) (names []string) {
	s.t.Helper()
	prefix := gofakes3.NewPrefix(&id, nil)
	list, err := s.ListBucket("meetings", &prefix, gofakes3.ListBucketPage{})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, o := range list.Contents {
		names = append(names, strings.TrimPrefix(o.Key, id+"/"))
	}
	slices.Sort(names)
	return names
}

// fleet are several servers that share a database and a bucket. Each has a URL that
// stays when it is started again.
type fleet struct {
	*shop
	t      *testing.T
	db     *store.Store // another look at the database
	data   []string
	fronts []*httptest.Server
	at     []*atomic.Pointer[url.URL]
	nodes  []*process
	args   []string
	all    string // a token for everything
}

func newFleet(t *testing.T, n int, args ...string) *fleet {
	c := pgtest.Start(t)
	database := c.URL(c.Database(""))
	t.Setenv("VERBATIM_DB", database)
	f := &fleet{shop: newShop(t), t: t}
	db, err := store.Open(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	f.db = db
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(tokenSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	f.all = token(t, auth.AllRooms, "op", time.Hour, auth.Listen, auth.Manage)
	f.args = append([]string{"--linger", "1h", "--auth-secret-file", secret, "--recordings", f.url}, args...)
	for i := range n {
		f.data = append(f.data, t.TempDir())
		at := &atomic.Pointer[url.URL]{}
		f.at = append(f.at, at)
		f.fronts = append(f.fronts, httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(at.Load()) }}))
		t.Cleanup(f.fronts[i].Close)
		f.nodes = append(f.nodes, nil)
		f.start(i)
	}
	return f
}

func (f *fleet) start(i int) *process {
	f.t.Helper()
	s := serve(f.t, f.data[i], "none:", append(slices.Clone(f.args), "--node", fmt.Sprint("n", i+1), "--node-url", f.fronts[i].URL)...)
	s.token = f.all
	at, err := url.Parse(s.url)
	if err != nil {
		f.t.Fatal(err)
	}
	f.at[i].Store(at)
	f.nodes[i] = s
	return s
}

// speaks has somebody speak at a node.
func (f *fleet) speaks(node int, room, who string, pcm []int16) *pcmClient {
	f.t.Helper()
	s := *f.nodes[node]
	s.token, s.room = token(f.t, room, who, time.Hour, auth.Publish), room
	c := s.ingest("", 16000, "")
	c.send(pcm, 0, len(pcm))
	c.taken(int64(len(pcm)))
	return c
}

// end asks a node to end a meeting.
func (f *fleet) end(node int, id string) {
	f.t.Helper()
	if r := f.ask(node, http.MethodPost, "/v1/meetings/"+id+"/end"); r.StatusCode != http.StatusOK {
		f.t.Fatal(r.Status)
	}
}

// ask asks a node for something, with a token, and follows no redirect.
func (f *fleet) ask(node int, method, path string, headers ...string) *http.Response {
	f.t.Helper()
	return f.nodes[node].unled(method, path, append(headers, "Authorization", "Bearer "+f.all)...)
}

// meeting is what the database has of one.
func (f *fleet) meeting(id string) meeting.Meeting {
	f.t.Helper()
	m, err := f.db.Meeting(f.t.Context(), id)
	if err != nil {
		f.t.Fatal(err)
	}
	return m
}

// recorder waits until a node records a meeting, and says which.
func (f *fleet) recorder(id string, come <-chan struct{}) int {
	f.t.Helper()
	select {
	case <-come:
	case <-time.After(time.Minute):
		f.t.Fatal("nobody records it")
	}
	i := slices.Index([]string{"n1", "n2", "n3"}, f.meeting(id).Recorder)
	if i < 0 {
		f.t.Fatalf("%q records it", f.meeting(id).Recorder)
	}
	return i
}

// mix is a meeting's recording, and what it says of itself, as a node gives it.
func (f *fleet) mix(node int, id string) (pcm []int16, lacks []string) {
	f.t.Helper()
	b := f.nodes[node].get("/v1/meetings/" + id + "/audio.flac")
	file, err := flac.Parse(bytes.NewReader(b))
	if err != nil {
		f.t.Fatal(err)
	}
	for _, block := range file.Blocks {
		if c, ok := block.Body.(*meta.VorbisComment); ok {
			for _, tag := range c.Tags {
				if tag[0] == "LACKS" {
					lacks = append(lacks, tag[1])
				}
			}
		}
	}
	return unFLAC(f.t, b), lacks
}

// has says whether a mix has what somebody said at its place.
func (f *fleet) has(m meeting.Meeting, mix []int16, who string, said []int16) {
	f.t.Helper()
	for _, tr := range m.Tracks {
		if tr.Participant != who {
			continue
		}
		at := int(tr.StartedAt.Sub(m.StartedAt) * 16 / time.Millisecond)
		if off, alike := find(mix, said, at); alike < 0.8 || max(off, -off) > 320 {
			f.t.Errorf("%s is %.2f alike, %d samples off", who, alike, off)
		}
		return
	}
	f.t.Errorf("%s has no track", who)
}

// Three servers, and meetings with voices at each. Servers are killed while people
// speak, and while they record; one is given up; a meeting is erased while it is
// recorded; and everybody hears everything, whichever server they ask.
func TestRecordedTogether(t *testing.T) {
	f := newFleet(t, 3)
	voice := map[string][]int16{}
	for who, sentence := range map[string]string{"ada": "sas-0870", "bob": "sas-0890", "cy": "sas-0880"} {
		voice[who] = speech.PCM(sentence)[:24000]
	}
	later := func() { time.Sleep(1600 * time.Millisecond) } // so that voices do not overlap

	// Bob's server is killed while he speaks, and comes back.
	ada := f.speaks(0, "first", "ada", voice["ada"])
	ada.end(len(voice["ada"]))
	later()
	f.speaks(1, "first", "bob", voice["bob"])
	later()
	out, err := verbatim(t.Context(), "publish", opusFile(t, "sas-0880"), "--room", "first", "--url", f.nodes[2].url,
		"--token", token(t, "first", "cy", time.Hour, auth.Publish, auth.Listen)).CombinedOutput()
	if err != nil {
		t.Fatalf("publish: %v: %s", err, out)
	}
	id := ada.ready.Meeting
	f.nodes[1].kill()
	f.end(0, id)
	come, release := f.hold()
	f.start(1)

	// Who records it is killed, and another goes on.
	killed := f.recorder(id, come)
	f.nodes[killed].kill()
	release()
	recorded := func(id string) {
		t.Helper()
		for began := time.Now(); f.meeting(id).RecordedAt == nil; time.Sleep(50 * time.Millisecond) {
			if time.Since(began) > time.Minute {
				t.Fatalf("not recorded: %+v", f.meeting(id))
			}
		}
	}
	recorded(id)
	m := f.meeting(id)
	if m.Recorder == fmt.Sprint("n", killed+1) {
		t.Errorf("%s has recorded it, which is dead", m.Recorder)
	}
	f.start(killed)
	opus := m.Tracks[slices.IndexFunc(m.Tracks, func(tr meeting.Track) bool { return tr.Participant == "cy" })].ID
	within(t, "parts are gone", func() bool { return slices.Equal(f.of(id), []string{opus + ".opus", "audio.flac"}) })
	for i := range f.nodes {
		mix, lacks := f.mix(i, id)
		f.has(m, mix, "ada", voice["ada"])
		f.has(m, mix, "bob", voice["bob"])
		f.has(m, mix, "cy", decoded(t, "sas-0880"))
		checkOpus(t, f.nodes[i].get("/v1/meetings/"+id+"/tracks/"+opus+"/audio.opus"))
		if len(lacks) > 0 {
			t.Errorf("it lacks %v", lacks)
		}
	}
	f.leads(m)

	// Cy's server is lost.
	ada = f.speaks(0, "second", "ada", voice["ada"])
	ada.end(len(voice["ada"]))
	later()
	bob := f.speaks(1, "second", "bob", voice["bob"])
	bob.end(len(voice["bob"]))
	later()
	f.speaks(2, "second", "cy", voice["cy"])
	id = ada.ready.Meeting
	f.nodes[2].kill()
	f.end(0, id)
	f.dead("n3")
	if out, err := verbatim(t.Context(), "nodes", "give-up", "n3").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	recorded(id)
	m = f.meeting(id)
	mix, lacks := f.mix(1, id)
	f.has(m, mix, "ada", voice["ada"])
	f.has(m, mix, "bob", voice["bob"])
	if len(lacks) != 1 || !strings.HasPrefix(lacks[0], "CY, from ") {
		t.Errorf("it lacks %q", lacks)
	}
	if len(m.Tracks) != 3 || m.Tracks[2].Audio != meeting.AudioLost {
		t.Errorf("%+v", m.Tracks)
	} else if r := f.ask(0, http.MethodGet, "/v1/meetings/"+id+"/tracks/"+m.Tracks[2].ID+"/audio.wav"); r.StatusCode != http.StatusGone {
		t.Errorf("what is lost: %s", r.Status)
	}

	f.erasedWhileRecorded(voice["ada"])
	if r := f.ask(1, http.MethodDelete, "/v1/meetings/"+id); r.StatusCode != http.StatusNoContent {
		t.Errorf("erase: %s", r.Status)
	}
	if left := f.of(id); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	f.nodes[0].stop()
	f.nodes[1].stop()
}

// dead waits until a node is taken for dead, and sees what is said of its audio.
func (f *fleet) dead(node string) {
	f.t.Helper()
	for began := time.Now(); ; time.Sleep(200 * time.Millisecond) {
		nodes, err := f.db.Nodes(f.t.Context())
		if err != nil || time.Since(began) > 90*time.Second {
			f.t.Fatalf("%v, %+v", err, nodes)
		}
		i := slices.IndexFunc(nodes, func(n store.Node) bool { return n.ID == node })
		if !nodes[i].Alive {
			if nodes[i].Unfinished == 0 {
				f.t.Errorf("%+v", nodes[i])
			}
			break
		}
	}
	ms, _, err := f.db.Meetings(f.t.Context(), "second", 1, "")
	if err != nil {
		f.t.Fatal(err)
	}
	for _, tr := range ms[0].Tracks {
		r := f.ask(0, http.MethodGet, "/v1/meetings/"+ms[0].ID+"/tracks/"+tr.ID+"/audio.wav")
		b, _ := io.ReadAll(r.Body)
		if tr.Node == node && (r.StatusCode != http.StatusMisdirectedRequest || !bytes.Contains(b, []byte("it does not run"))) {
			f.t.Errorf("audio that a dead node has: %s %s", r.Status, b)
		}
	}
	if r := f.ask(0, http.MethodGet, "/v1/meetings/"+ms[0].ID+"/audio.flac"); r.StatusCode != http.StatusMisdirectedRequest {
		f.t.Errorf("a recording that waits: %s", r.Status)
	}
}

// leads asks each node for the audio of each track: who has none leads there, by a link
// that a client without a token may follow, with its range.
func (f *fleet) leads(m meeting.Meeting) {
	f.t.Helper()
	doc, err := contract.Parse(f.nodes[0].get("/openapi.yaml"))
	if err != nil {
		f.t.Fatal(err)
	}
	get := func(at, rang string) (int, []byte) {
		f.t.Helper()
		req, err := http.NewRequestWithContext(f.t.Context(), http.MethodGet, at, nil)
		if err != nil {
			f.t.Fatal(err)
		}
		req.Header.Set("Range", rang)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			f.t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			f.t.Fatal(err)
		}
		return resp.StatusCode, b
	}
	for _, tr := range m.Tracks {
		path := "/v1/meetings/" + m.ID + "/tracks/" + tr.ID + "/audio.wav"
		var whole []byte
		for i := range f.nodes {
			if tr.Node == fmt.Sprint("n", i+1) {
				whole = f.nodes[i].get(path)
			}
		}
		for i := range f.nodes {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				r := f.ask(i, method, path)
				if tr.Node == fmt.Sprint("n", i+1) {
					if r.StatusCode != http.StatusOK {
						f.t.Errorf("%s: %s", tr.Node, r.Status)
					}
					continue
				}
				body, _ := io.ReadAll(r.Body)
				if err := doc.Check(r.Request, r.StatusCode, r.Header, body); err != nil {
					f.t.Error(err)
				}
				at := r.Header.Get("Location")
				if r.StatusCode != http.StatusTemporaryRedirect || strings.Contains(at, f.all) {
					f.t.Fatalf("%s to %s: %s, %v", method, tr.Node, r.Status, r.Header)
				}
				if status, b := get(at, "bytes=1000-1999"); status != http.StatusPartialContent || !bytes.Equal(b, whole[1000:2000]) {
					f.t.Errorf("a part: %d, %d bytes", status, len(b))
				}
			}
			// By a link, as a media element does.
			var answer struct{ Links []struct{ URL string } }
			if err := json.Unmarshal(f.post(i, "/v1/links", `{"paths":["`+path+`"]}`), &answer); err != nil || len(answer.Links) != 1 {
				f.t.Fatalf("%v, %+v", err, answer)
			}
			if status, b := get(f.nodes[i].url+answer.Links[0].URL, "bytes=44-"); status != http.StatusPartialContent || !bytes.Equal(b, whole[44:]) {
				f.t.Errorf("by a link: %d, %d bytes", status, len(b))
			}
		}
	}
}

func (f *fleet) post(node int, path, body string) []byte {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), http.MethodPost, f.nodes[node].url+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+f.all)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		f.t.Fatalf("%s, %v: %s", resp.Status, err, b)
	}
	return b
}

// erasedWhileRecorded: what a node puts into the bucket after another has erased the
// meeting leaves it again.
func (f *fleet) erasedWhileRecorded(pcm []int16) {
	f.t.Helper()
	come, release := f.hold()
	ada := f.speaks(0, "third", "ada", pcm)
	ada.end(len(pcm))
	bob := f.speaks(1, "third", "bob", pcm)
	bob.end(len(pcm))
	id := ada.ready.Meeting
	f.end(0, id)
	other := 1 - f.recorder(id, come)
	if !slices.ContainsFunc(f.of(id), func(name string) bool { return strings.HasSuffix(name, ".part") }) {
		f.t.Errorf("there are no parts: %v", f.of(id))
	}
	if r := f.ask(other, http.MethodDelete, "/v1/meetings/"+id); r.StatusCode != http.StatusNoContent {
		f.t.Errorf("erase: %s", r.Status)
	}
	if left := f.of(id); len(left) > 0 {
		f.t.Errorf("left: %v", left)
	}
	release()
	if _, err := f.db.Meeting(f.t.Context(), id); !errors.Is(err, meeting.ErrNotFound) {
		f.t.Error(err)
	}
	// The other one hears of it within a minute, or when it is started again.
	i := 1 - other
	f.nodes[i].stop()
	f.start(i)
	if left := f.of(id); len(left) > 0 {
		f.t.Errorf("left: %v", left)
	}
	for i, data := range f.data[:2] {
		if _, err := os.Stat(filepath.Join(data, "tracks", id)); err == nil {
			f.t.Errorf("n%d has still logs", i+1)
		}
	}
}
