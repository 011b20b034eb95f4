package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/oklog/ulid/v2"

	"verbatim/internal/natstest"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
)

const room = "room"

var (
	meetingID = ulid.MustNew(1, nil2{}).String()
	trackID   = ulid.MustNew(2, nil2{}).String()
)

// nil2 is entropy that is none.
type nil2 struct{}

func (nil2) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// board stands for the store: what Mark says of it.
type board struct {
	mu    sync.Mutex
	mark  string
	err   error
	asked int
}

func (b *board) set(mark string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mark = mark
}

func (b *board) read(context.Context, string) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
	return b.mark, b.err
}

// node is a server with its hub.
type node struct {
	*Link
	hub  *Hub
	conn *nats.Conn
	stop func()

	mu     sync.Mutex // guards what follows
	remote []string
	missed int
}

func newNode(t *testing.T, name, urls string, b *board) *node {
	t.Helper()
	n := &node{hub: &Hub{}, conn: natstest.Connect(t, urls)}
	n.Link = NewLink(LinkConfig{
		Hub: n.hub, Conn: n.conn, Node: name, Prefix: "v", Mark: b.read, Logger: slog.New(slog.DiscardHandler),
		OnRemote: func(e meeting.Event, node string) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.remote = append(n.remote, fmt.Sprintf("%s of %s in %s", e.Type, node, e.Room))
		},
		OnMissed: func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.missed++
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Cleanup(n.stop)
	return n
}

// until waits for something, at most a minute.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: it does not come about", what)
		}
	}
}

// next is the next event of a kind; EventMissed is passed over.
func next(t *testing.T, c <-chan meeting.Event, kind string) meeting.Event {
	t.Helper()
	for late := time.After(time.Minute); ; {
		select {
		case e, ok := <-c:
			if !ok {
				t.Fatalf("cut off while waiting for %s", kind)
			}
			if e.Type == kind {
				return e
			}
			if e.Type != meeting.EventMissed {
				t.Fatalf("%+v while waiting for %s", e, kind)
			}
		case <-late:
			t.Fatalf("no %s", kind)
		}
	}
}

func final(n int64) meeting.Event {
	return meeting.Event{Room: room, Meeting: meetingID, Type: meeting.EventCaption, Number: n, Data: segment("final", true)}
}

func interim(text string) meeting.Event {
	return meeting.Event{Room: room, Meeting: meetingID, Type: meeting.EventCaption, Data: segment(text, false)}
}

func segment(text string, final bool) transcript.Segment {
	return transcript.Segment{
		ID: trackID + ".0", Meeting: meetingID, Track: trackID, Participant: transcript.Participant{ID: "ada", Name: "Ada"}, Text: text, Final: final,
	}
}

// pair are two nodes of which the second watches the room, and both know it.
func pair(t *testing.T, urlA, urlB string, board *board) (a, b *node, heard <-chan meeting.Event) {
	t.Helper()
	a, b = newNode(t, "a", urlA, board), newNode(t, "b", urlB, board)
	heard, cancel := b.hub.Subscribe(room)
	t.Cleanup(cancel)
	until(t, "a knows that b watches", func() bool { return a.Watched(room) })
	next(t, heard, meeting.EventMissed) // the first look, after which nothing is due
	return a, b, heard
}

func TestEventsOfOtherNodes(t *testing.T) {
	s := natstest.New(t, nil)
	a, b, heard := pair(t, s.URL, s.URL, &board{})
	own, stop := a.hub.Subscribe(room)
	defer stop()
	until(t, "both watch", func() bool { return a.Stats().Rooms == 1 && b.Watched(room) && b.Stats().Peers == 1 })

	const n = 100
	presence := meeting.Presence{Meeting: meetingID, Participant: meeting.Participant{ID: "ada", Name: "Ada \x00 <b>"}}
	a.Publish(meeting.Event{Room: room, Meeting: meetingID, Type: meeting.EventState})
	a.Publish(meeting.Event{Room: room, Meeting: meetingID, Type: meeting.EventJoined, Data: presence})
	for i := range int64(n) {
		a.Publish(interim(fmt.Sprint(i)))
		a.Publish(final(i + 1))
	}
	a.Publish(meeting.Event{Room: "other", Meeting: meetingID, Type: meeting.EventEnded, Data: meeting.Ended{Meeting: meetingID, State: meeting.StateEnded}})
	progress := meeting.Progress{Meeting: meetingID, Tracks: []meeting.TrackProgress{{ID: trackID, Participant: "ada"}}}
	a.Publish(meeting.Event{Room: room, Meeting: meetingID, Type: meeting.EventCoverage, Data: progress})
	a.Publish(meeting.Event{Room: room, Type: meeting.EventMoving, Data: meeting.Moving{Participants: []string{"ada"}, WithinMS: 9}})
	a.Publish(meeting.Event{Room: room, Meeting: meetingID, Type: meeting.EventErased, Data: meeting.Erased{Meeting: meetingID}})

	for name, c := range map[string]<-chan meeting.Event{"a": own, "b": heard} {
		if e := next(t, c, meeting.EventState); e.Meeting != meetingID || e.Room != room {
			t.Errorf("%s: %+v", name, e)
		}
		if e := next(t, c, meeting.EventJoined); e.Data != presence {
			t.Errorf("%s: %+v", name, e)
		}
		for i := range int64(n) {
			if e := next(t, c, meeting.EventCaption); e.Number != 0 || e.Data.(transcript.Segment).Text != fmt.Sprint(i) {
				t.Errorf("%s: %+v, want the interim %d", name, e, i)
			}
			e := next(t, c, meeting.EventCaption)
			if _, words := e.Data.(transcript.Segment); e.Number != i+1 || words != (name == "a") {
				t.Errorf("%s: %+v, want the final %d, from the store at b", name, e, i+1)
			}
		}
		if e := next(t, c, meeting.EventCoverage); len(e.Data.(meeting.Progress).Tracks) != 1 {
			t.Errorf("%s: %+v", name, e)
		}
		if e := next(t, c, meeting.EventMoving); e.Data.(meeting.Moving).WithinMS != 9 {
			t.Errorf("%s: %+v", name, e)
		}
		next(t, c, meeting.EventErased)
		if len(c) > 0 {
			t.Errorf("%s: one more: %+v", name, <-c)
		}
	}
	want := []string{
		"state of a in room", "joined of a in room", "ended of a in other", "erased of a in room",
	}
	until(t, "what registries have to know", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return strings.Join(b.remote, ", ") == strings.Join(want, ", ")
	})
	if len(a.remote) > 0 {
		t.Errorf("a hears of itself: %v", a.remote)
	}
	if st := b.Stats(); st.Refused+st.Ignored+st.Dropped+st.Unsent > 0 || !st.Connected {
		t.Errorf("%+v", st)
	}
}

// What nobody watches is not sent, but for what must not be missed.
func TestOnlyWatchedRoomsAreSent(t *testing.T) {
	s := natstest.New(t, nil)
	a, b := newNode(t, "a", s.URL, &board{}), newNode(t, "b", s.URL, &board{})
	until(t, "they know each other", func() bool { return a.Stats().Peers == 1 && b.Stats().Peers == 1 })
	if a.Watched(room) {
		t.Fatal("nobody watches")
	}
	a.Publish(interim("nobody"))
	a.Publish(final(1))
	until(t, "the final is sent", func() bool { return a.Stats().Sent == 1 })

	_, stop := b.hub.Subscribe(room)
	until(t, "b watches", func() bool { return a.Watched(room) })
	stop()
	until(t, "b watches no more", func() bool { return !a.Watched(room) && b.Stats().Rooms == 0 })
	_, stop = b.hub.Subscribe(room)
	defer stop()
	until(t, "b watches again", func() bool { return a.Watched(room) })
	b.stop()
	until(t, "b has said good-bye", func() bool { return !a.Watched(room) && a.Stats().Peers == 0 })
}

// While NATS is away those who watch are told by the store, and by NATS again
// when it is back.
func TestServerRestarts(t *testing.T) {
	s := natstest.New(t, nil)
	board := &board{}
	a, b, heard := pair(t, s.URL, s.URL, board)
	s.Stop()
	until(t, "it is noticed", func() bool { return !a.Stats().Connected && !b.Stats().Connected })
	for i := range 2 {
		for len(heard) > 0 {
			<-heard
		}
		a.Publish(final(int64(i + 1)))
		board.set(fmt.Sprint("away", i))
		next(t, heard, meeting.EventMissed) // NATS is not back before that
	}
	until(t, "a knows that it could not send", func() bool { return a.Stats().Unsent > 0 })
	s.Start()
	board.set("back")
	next(t, heard, meeting.EventMissed)
	until(t, "both are back", func() bool { return a.Stats().Connected && b.Stats().Connected && a.Watched(room) })
	until(t, "a final comes by NATS", func() bool {
		a.Publish(final(3))
		select {
		case e := <-heard:
			return e.Number == 3
		case <-time.After(50 * time.Millisecond):
			return false
		}
	})
	until(t, "the registry is told to look, each time", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.missed >= 3
	})
}

// A NATS server is killed under one node: the others are told to look, and hear
// it again by another server.
func TestClusterLosesAServer(t *testing.T) {
	all := natstest.Cluster(t, 3)
	urls := all[0].URL + "," + all[1].URL + "," + all[2].URL
	board := &board{}
	// a begins with the one that is killed, b stays.
	a, b, heard := pair(t, urls, all[1].URL, board)
	for a.conn.ConnectedUrl() != all[0].URL {
		check(t, a.conn.ForceReconnect())
		time.Sleep(20 * time.Millisecond)
		until(t, "a is connected", a.conn.IsConnected)
	}
	until(t, "a hears b", func() bool { return a.Stats().Peers == 1 && a.Watched(room) })
	for len(heard) > 0 {
		<-heard
	}
	all[0].Stop()
	a.Publish(final(1))
	board.set("1")
	until(t, "b is told, or to look", func() bool { // a may have found another server by now
		select {
		case e := <-heard:
			return e.Type == meeting.EventMissed || e.Number == 1
		case <-time.After(50 * time.Millisecond):
			return false
		}
	})
	until(t, "a is back", func() bool { return a.Stats().Connected && a.conn.ConnectedUrl() != all[0].URL && a.Watched(room) })
	until(t, "b hears it", func() bool {
		a.Publish(final(2))
		for {
			select {
			case e := <-heard:
				if e.Number == 2 {
					return true
				}
			case <-time.After(50 * time.Millisecond):
				return false
			}
		}
	})
	if b.Stats().Refused > 0 {
		t.Errorf("%+v", b.Stats())
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What the NATS client drops because the node is too slow is noticed.
func TestSlowConsumer(t *testing.T) {
	s := natstest.New(t, nil)
	board := &board{}
	_, b, heard := pair(t, s.URL, s.URL, board)
	raw := natstest.Connect(t, s.URL)
	b.hub.mu.Lock() // nobody takes anything
	from := sender{Version: version, Node: "flood", Run: "1"}
	const flood = 2*queued + 1000
	before := b.conn.Stats().InMsgs
	for seq := range uint64(flood) {
		m, err := encode(from, seq+1, "", interim("flood"))
		check(t, err)
		check(t, raw.Publish("v.events."+room, m))
	}
	check(t, raw.Flush())
	for end := time.Now().Add(time.Minute); b.conn.Stats().InMsgs < before+flood && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond) // all has come, and is taken or dropped
	}
	board.set("what was dropped")
	b.hub.mu.Unlock()
	told := false
	for late := time.After(time.Minute); !told; {
		select {
		case e, ok := <-heard:
			if !ok { // it was too slow itself, and comes back
				heard, _ = b.hub.Subscribe(room)
			}
			told = e.Type == meeting.EventMissed || !ok && b.Stats().Dropped > 0
		case <-late:
			t.Fatal("nobody is told")
		}
	}
	until(t, "drops are counted", func() bool { return b.Stats().Dropped > 0 })
}

// Lost messages show as holes, those that could not be sent in announcements, and
// a node that is silent is one of which everything may be lost.
func TestMissedIsNoticed(t *testing.T) {
	s := natstest.New(t, nil)
	board := &board{}
	a, b, heard := pair(t, s.URL, s.URL, board)
	raw := natstest.Connect(t, s.URL)
	from := sender{Version: version, Node: "c", Run: "1"}
	send := func(seq uint64) {
		m, err := encode(from, seq, "", final(int64(seq)))
		check(t, err)
		check(t, raw.Publish("v.events."+room, m))
	}
	send(5)
	next(t, heard, meeting.EventCaption)
	send(7)
	if e := <-heard; e.Type != meeting.EventMissed {
		t.Errorf("%+v, and message 6 is missing", e)
	}
	next(t, heard, meeting.EventCaption)
	send(8)
	if e := <-heard; e.Number != 8 {
		t.Errorf("%+v where nothing is missing", e)
	}

	board.set("unsent")
	a.unsent()
	next(t, heard, meeting.EventMissed)

	dead := announcement{sender: from, Seq: 1, Rooms: []string{room}}
	text, err := json.Marshal(dead)
	check(t, err)
	b.hear(text, time.Now().Add(-silentAfter))
	time.Sleep(settle + 2*tickEvery) // looks that are due for other reasons are over
	for len(heard) > 0 {
		<-heard
	}
	board.set("of the silent one")
	next(t, heard, meeting.EventMissed)
}

// Whatever comes from NATS, nobody is told of it, and nothing breaks.
func TestGarbage(t *testing.T) {
	s := natstest.New(t, nil)
	a, b, heard := pair(t, s.URL, s.URL, &board{})
	raw := natstest.Connect(t, s.URL)
	good := `{"v":1,"node":"x","run":"y","seq":1,"meeting":"` + meetingID + `",`
	bad := []string{
		"", "{", "[]", `{"v":"1"}`, "\xff\x00", strings.Repeat("[", 100000), strings.Repeat("x", maxMessage+1),
		`{"v":1,"type":"state"}`,
		good + `"type":"caption"}`,
		good + `"type":"caption","data":null}`,
		good + `"type":"caption","data":{"meeting":"another"}}`,
		good + `"type":"joined","data":{"meeting":"` + meetingID + `","participant":{"id":"../x"}}}`,
		good + `"type":"ended","data":{"meeting":"` + meetingID + `","state":"<b>"}}`,
		good + `"type":"moving"}`,
		`{"v":1,"node":"x","run":"y","seq":1,"type":"state","meeting":"../../etc"}`,
		`{"v":1,"node":"` + strings.Repeat("x", 1000) + `","run":"y","type":"missed"}`,
	}
	unknown := []string{"null", `{"v":2,"node":"x","run":"y","type":"state"}`, good + `"type":"from the future"}`}
	for _, text := range append(bad, unknown...) {
		check(t, raw.Publish("v.events."+room, []byte(text)))
	}
	rooms, err := json.Marshal(make([]string, maxRooms+1))
	check(t, err)
	for _, text := range []string{"", "{", `{"v":1,"node":"x","run":"y","rooms":["../x"]}`, `{"v":1,"node":"x","run":"y","rooms":` + string(rooms) + `}`} {
		check(t, raw.Publish("v.watch", []byte(text)))
		check(t, raw.Publish("v.control", []byte(text)))
	}
	for i := range 2 * maxPeers {
		check(t, raw.Publish("v.watch", fmt.Appendf(nil, `{"v":1,"node":"x","run":"%d","rooms":[]}`, i)))
	}
	check(t, raw.Flush())
	until(t, "all is counted", func() bool {
		st := b.Stats()
		return st.Refused >= uint64(len(bad)+8+maxPeers+1) && st.Ignored >= uint64(len(unknown))
	})
	b.Link.mu.Lock()
	if n := len(b.peers); n != maxPeers { // of which some may have been silent by now
		t.Errorf("%d peers", n)
	}
	b.Link.mu.Unlock()
	a.Publish(final(1))
	if e := next(t, heard, meeting.EventCaption); e.Number != 1 {
		t.Errorf("%+v", e)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.remote) > 0 {
		t.Errorf("the registry was told of %v", b.remote)
	}
}

func FuzzDecode(f *testing.F) {
	for _, e := range []meeting.Event{final(1), interim("x"), {Type: meeting.EventMissed}} {
		b, err := encode(sender{version, "n", "r"}, 1, room, e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, e, err := decode(b)
		if err != nil {
			return
		}
		again, err := encode(sender{version, "n", "r"}, 1, room, e)
		if err != nil {
			t.Fatal(err)
		}
		if _, e2, err := decode(again); err == nil && e2.Type != e.Type && e2.Type != meeting.EventMissed {
			t.Fatalf("%+v becomes %+v", e, e2)
		}
	})
}

// What is too large to send is found in the store.
func TestLargeEvents(t *testing.T) {
	p := meeting.Progress{Meeting: meetingID, Tracks: make([]meeting.TrackProgress, 5000)}
	b, err := encode(sender{version, "n", "r"}, 1, "", meeting.Event{Room: room, Meeting: meetingID, Type: meeting.EventCoverage, Data: p})
	check(t, err)
	if _, e, err := decode(b); err != nil || e.Type != meeting.EventMissed {
		t.Errorf("%+v, %v", e, err)
	}
}
