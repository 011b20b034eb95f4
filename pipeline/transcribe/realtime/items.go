package realtime

import (
	"strings"
	"sync"

	"verbatim/pipeline/transcribe"
)

// maxText bounds what is shown of an utterance before it has its text, in bytes.
const maxText = 16 << 10

// item is an utterance or a silence.
type item struct {
	id         string // "" until the server has told
	start, end int64  // samples
	committed  bool   // the server was told that it is whole
	answered   bool
	text       string // so far
}

// items are those of which no final was delivered yet, in the order of time: all
// but the last are whole.
type items struct {
	timed bool // the oldest is being waited for; guarded by Stream.Deliver

	mu       sync.Mutex // guards what follows
	queue    []*item
	last     string // the id of the newest that the server knows
	finished bool
}

// begin adds an utterance that begins at a sample.
func (q *items) begin(start int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.queue = append(q.queue, &item{start: start, end: start})
}

// commit says that the utterance under way is whole, and what it covers.
func (q *items) commit(start, end int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := q.queue[len(q.queue)-1]
	i.start, i.end, i.committed = start, end, true
}

// silence adds a silence, in place of the utterance under way if there is one.
func (q *items) silence(start, end int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.queue); n > 0 && !q.queue[n-1].committed {
		q.queue = q.queue[:n-1]
	}
	q.queue = append(q.queue, &item{start: start, end: end, committed: true, answered: true})
}

// finish says that nothing is added any more.
func (q *items) finish() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.finished = true
}

// find is the item of an id, nil if it has none.
func (q *items) find(id string) *item {
	for _, i := range q.queue {
		if i.id == id && id != "" {
			return i
		}
	}
	return nil
}

// committed takes the server's word that an item is whole, which it says in
// their order.
func (q *items) committed(id, previous string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if id == "" || previous != "" && q.last != "" && previous != q.last {
		return errOrder
	}
	q.last = id
	for _, i := range q.queue {
		switch {
		case i.id == id:
			return nil
		case i.id == "" && !i.answered && i.committed:
			i.id = id
			return nil
		}
	}
	return errOrder
}

// delta adds to an item's text. It returns what is to be shown, if anything is:
// of the oldest only.
func (q *items) delta(id, text string) (r transcribe.Result, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := q.find(id)
	if n := len(q.queue); i == nil && n > 0 && !q.queue[n-1].committed && q.queue[n-1].id == "" {
		// Some models begin before the end.
		i = q.queue[n-1]
		i.id = id
	}
	if i == nil || i.answered || len(i.text)+len(text) > maxText {
		return r, false
	}
	i.text += text
	if shown := strings.TrimSpace(i.text); i == q.queue[0] && shown != "" {
		return transcribe.Result{Start: i.start, End: max(i.end, i.start+1), Text: shown}, true
	}
	return r, false
}

// completed gives an item its text; false if it is none that waits for one.
func (q *items) completed(id, text string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := q.find(id)
	if i == nil || i.answered || !i.committed {
		return false
	}
	i.answered, i.text = true, strings.Join(strings.Fields(text), " ")
	return true
}

// due takes out the finals that have their texts, up to the first that has not.
// waits is whether that is awaited, over whether nothing will follow.
func (q *items) due() (finals []transcribe.Result, waits, over bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.queue) > 0 && q.queue[0].answered {
		i := q.queue[0]
		finals = append(finals, transcribe.Result{Final: true, Start: i.start, End: i.end, Text: i.text})
		q.queue = q.queue[1:]
	}
	return finals, len(q.queue) > 0 && q.queue[0].committed, q.finished && len(q.queue) == 0
}
