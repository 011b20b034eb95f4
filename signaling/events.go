package signaling

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
)

const (
	keepAlive    = 15 * time.Second // proxies close streams that are silent for a minute
	writeTimeout = 15 * time.Second
	replayPage   = 200
	maxPositions = 16 // of one Last-Event-ID
)

// events streams what happens in a room (server-sent events, HTML 9.2). The
// first event is the state; finals that the client has not seen follow.
//
// Finals have numbers without holes in each meeting. The stream sends them in
// that order, whatever order the live events come in, and reads from the store
// what it has not: so a client that comes back with Last-Event-ID misses none
// and gets none twice.
func (s *Server) events(w http.ResponseWriter, r *http.Request) error {
	room := chi.URLParam(r, "room")
	// Subscribed before the state is read: nothing falls in between.
	live, cancel := s.cfg.Events.Subscribe(room)
	defer cancel()

	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	st := &stream{
		s: s, room: room, w: w, rc: http.NewResponseController(w),
		sent: map[string]int64{}, over: map[string]bool{}, final: map[string]int64{},
	}
	if err := st.resume(r); err != nil {
		return err
	}
	if end := callerOf(r).Expires; !end.IsZero() { // the client comes back with a new token
		ctx, cancel := context.WithDeadline(r.Context(), end)
		defer cancel()
		r = r.WithContext(ctx)
	}
	if err := st.state(r); err != nil {
		return err
	}
	idle := time.NewTicker(keepAlive)
	defer idle.Stop()
	for {
		select {
		case <-r.Context().Done():
			return nil
		case <-idle.C:
			if err := st.raw(": still here\n\n"); err != nil {
				return nil // the client is gone
			}
		case e, ok := <-live:
			if !ok {
				return nil // too slow, or shutting down: the client comes back
			}
			if err := st.event(r, e); err != nil {
				return err
			}
		}
	}
}

// stream is one client's event stream.
type stream struct {
	s    *Server
	room string
	w    http.ResponseWriter
	rc   *http.ResponseController
	sent map[string]int64 // per meeting, the number of the last final that was sent
	// over are those of sent of which nothing more will come. They stay in sent, as
	// live events may still tell of what was read from the store.
	over map[string]bool
	told string // of the room's state, without what grows
	// final is, per track, of how many segments the finals were sent. What is
	// read from the store overtakes live events: an interim, or its taking back,
	// that comes behind its final is of no use any more.
	final map[string]int64
}

// resume reads where the client was. An id of another room counts for nothing.
func (st *stream) resume(r *http.Request) error {
	positions := strings.Split(r.Header.Get("Last-Event-ID"), ",")
	// The latest meetings stand last.
	for _, at := range positions[max(0, len(positions)-maxPositions):] {
		id, number, ok := strings.Cut(at, ".")
		n, err := strconv.ParseInt(number, 10, 64)
		if !ok || err != nil || n < 0 {
			continue // not an id of ours: begin at the beginning
		}
		ours, err := st.ours(r.Context(), id)
		if err != nil {
			return err
		}
		if ours {
			st.sent[id] = n
		}
	}
	return nil
}

// ours reports whether there is such a meeting, in the stream's room. Nothing is read
// of another, whoever names it: a client, or a message of another node.
func (st *stream) ours(ctx context.Context, id string) (bool, error) {
	if _, known := st.sent[id]; known {
		return true, nil
	}
	room, err := st.s.cfg.Meetings.Room(ctx, id)
	if errors.Is(err, meeting.ErrNotFound) {
		return false, nil
	}
	return err == nil && room == st.room, err
}

// position is where the client is in every meeting of the room of which more
// may come: one that has ended is transcribed while the next goes on.
func (st *stream) position() string {
	var at []string
	for id, n := range st.sent {
		if !st.over[id] {
			at = append(at, fmt.Sprintf("%s.%d", id, n))
		}
	}
	slices.Sort(at)
	return strings.Join(at, ",")
}

// state sends the room's state, and the finals that go with it.
func (st *stream) state(r *http.Request) error {
	now, err := st.s.roomState(r)
	if err != nil {
		return err
	}
	return st.show(r, now)
}

// show is state with what was read already.
func (st *stream) show(r *http.Request, now roomState) error {
	if now.Meeting != nil {
		st.sent[now.Meeting.ID] += 0 // all of this one is for the client
		st.stored(now.Meeting.Tracks)
	}
	st.told = now.told()
	// With an id, so that a client that is cut off before the first final comes
	// back for those of this meeting, even when that is over by then.
	if err := st.send(st.position(), meeting.EventState, now); err != nil {
		return err
	}
	// Of a meeting that ended while the client was away, the rest.
	for id := range st.sent {
		if !st.over[id] && (now.Meeting == nil || id != now.Meeting.ID) {
			if err := st.rest(r.Context(), id); err != nil {
				return err
			}
		}
	}
	if now.Meeting == nil {
		return nil
	}
	return st.finals(r.Context(), now.Meeting.ID)
}

// missed reads what there may be to tell: events were missed. Where nothing is
// new, nothing is sent.
func (st *stream) missed(r *http.Request) error {
	now, err := st.s.roomState(r)
	if err != nil {
		return err
	}
	if now.told() != st.told {
		return st.show(r, now)
	}
	for id := range st.sent {
		switch {
		case st.over[id]:
		case now.Meeting != nil && id == now.Meeting.ID:
			err = st.finals(r.Context(), id)
		default:
			err = st.finish(r.Context(), id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// finish sends the rest of a meeting that is not live any more, and that its
// transcript is finished, if it is.
func (st *stream) finish(ctx context.Context, id string) error {
	if err := st.rest(ctx, id); err != nil || !st.over[id] {
		return err
	}
	m, err := st.s.cfg.Meetings.Meeting(ctx, id)
	switch {
	case errors.Is(err, meeting.ErrNotFound):
		return st.send("", meeting.EventErased, meeting.Erased{Meeting: id})
	case err != nil:
		return err
	}
	return st.send("", meeting.EventEnded, meeting.Ended{Meeting: id, State: m.State})
}

// told is what of a state is told by events of their own that may be missed.
func (s roomState) told() string {
	if s.Meeting == nil {
		return ""
	}
	text := s.Meeting.ID
	for _, p := range s.Meeting.Participants {
		text += fmt.Sprintf(" %s %d %t", p.ID, p.JoinedAt.UnixMicro(), p.LeftAt == nil)
	}
	return text
}

// rest sends the finals of a meeting that is not live any more, and notes if
// none will follow.
func (st *stream) rest(ctx context.Context, id string) error {
	m, err := st.s.cfg.Meetings.Meeting(ctx, id) // before its finals: they are all, then
	if err == nil {
		st.stored(m.Tracks)
		err = st.finals(ctx, id)
	}
	if err != nil && !errors.Is(err, meeting.ErrNotFound) {
		return err
	}
	if err != nil || m.State == meeting.StateComplete || m.State == meeting.StateIncomplete {
		st.over[id] = true
	}
	return nil
}

// finals sends the stored finals of a meeting that were not sent yet.
func (st *stream) finals(ctx context.Context, id string) error {
	for {
		segments, numbers, err := st.s.cfg.Transcripts.Finals(ctx, id, st.sent[id], replayPage)
		if err != nil {
			return err
		}
		for i, seg := range segments {
			if err := st.caption(id, numbers[i], seg); err != nil {
				return err
			}
		}
		if len(segments) < replayPage {
			return nil
		}
	}
}

func (st *stream) caption(id string, n int64, seg transcript.Segment) error {
	st.sent[id] = n
	st.final[seg.Track] = max(st.final[seg.Track], numberOf(seg)+1)
	return st.send(st.position(), meeting.EventCaption, seg)
}

func (st *stream) event(r *http.Request, e meeting.Event) error {
	switch {
	case e.Type == meeting.EventState:
		return st.state(r)
	case e.Type == meeting.EventMissed:
		return st.missed(r)
	case e.Type == meeting.EventEnded:
		if end, ok := e.Data.(meeting.Ended); ok && end.State != meeting.StateEnded {
			ours, err := st.ours(r.Context(), e.Meeting)
			if ours {
				err = st.finals(r.Context(), e.Meeting)
			}
			if err != nil && !errors.Is(err, meeting.ErrNotFound) {
				return err
			}
			st.forget(e.Meeting)
		}
		return st.send("", e.Type, e.Data)
	case e.Type == meeting.EventErased:
		st.forget(e.Meeting)
		return st.send("", e.Type, e.Data)
	case e.Number == 0:
		if seg, ok := e.Data.(transcript.Segment); ok && numberOf(seg) < st.final[seg.Track] {
			return nil
		}
		return st.send("", e.Type, e.Data)
	}
	if _, known := st.sent[e.Meeting]; !known {
		// It began at another node, whose telling has not come yet.
		now, err := st.s.roomState(r)
		if err != nil {
			return err
		}
		if now.Meeting != nil && now.Meeting.ID == e.Meeting {
			return st.show(r, now)
		}
		ours, err := st.ours(r.Context(), e.Meeting)
		if err != nil || !ours {
			return err
		}
		// The rest of a meeting that was over before the client came.
		st.sent[e.Meeting] = e.Number - 1
	}
	switch {
	case e.Number <= st.sent[e.Meeting]:
		return nil
	case e.Number == st.sent[e.Meeting]+1:
		if seg, ok := e.Data.(transcript.Segment); ok {
			return st.caption(e.Meeting, e.Number, seg)
		}
	}
	return st.finals(r.Context(), e.Meeting)
}

// stored notes which segments are finals that the client has, or will be sent next.
func (st *stream) stored(tracks []meeting.Track) {
	for _, t := range tracks {
		st.final[t.ID] = max(st.final[t.ID], t.NextSegment)
	}
}

// numberOf is which segment of its track it is.
func numberOf(seg transcript.Segment) int64 {
	n, err := strconv.ParseInt(seg.ID[strings.LastIndexByte(seg.ID, '.')+1:], 10, 64)
	if err != nil {
		return -1 // no node of ours numbers so
	}
	return n
}

// forget a meeting of which nothing follows.
func (st *stream) forget(id string) {
	delete(st.sent, id)
	delete(st.over, id)
}

func (st *stream) send(id, kind string, data any) error {
	b, err := json.Marshal(data)
	if err != nil {
		return err
	}
	if id != "" {
		id = "id: " + id + "\n"
	}
	return st.raw(id + "event: " + kind + "\ndata: " + string(b) + "\n\n")
}

func (st *stream) raw(text string) error {
	if err := st.rc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	if _, err := st.w.Write([]byte(text)); err != nil {
		return err
	}
	if err := st.rc.Flush(); err != nil {
		return err
	}
	// HTTP/2 ends a stream at its deadline even if nothing is written then.
	return st.rc.SetWriteDeadline(time.Now().Add(2 * keepAlive))
}
