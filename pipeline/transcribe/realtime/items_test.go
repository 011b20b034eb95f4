package realtime

import (
	"errors"
	"strings"
	"testing"
	"time"

	"verbatim/pipeline/transcribe"
)

func texts(results []transcribe.Result) string {
	var all []string
	for _, r := range results {
		all = append(all, r.Text)
	}
	return strings.Join(all, "|")
}

// A server that never ends an utterance makes no memory of it.
func TestDeltasWithoutEnd(t *testing.T) {
	var q items
	q.begin(0)
	for range 1000 {
		q.delta("a", strings.Repeat("x", 1000))
	}
	if n := len(q.queue[0].text); n == 0 || n > maxText {
		t.Errorf("%d bytes are kept", n)
	}
	q.commit(0, 1000)
	if !q.completed("a", strings.Repeat("y", 2*maxText)) {
		t.Error("its text is refused")
	}
	if got, _, _ := q.due(); len(got) != 1 || len(got[0].Text) != 2*maxText {
		t.Errorf("%d finals", len(got))
	}
}

func TestItemsAreOrdered(t *testing.T) {
	var q items
	for i := range int64(3) {
		q.begin(i * 1000)
		q.commit(i*1000+100, i*1000+900)
	}
	for i, id := range []string{"a", "b", "c"} {
		if err := q.committed(id, []string{"", "a", "b"}[i]); err != nil {
			t.Fatal(err)
		}
	}
	q.silence(3000, 4000)
	due := func(want string) {
		t.Helper()
		if got, _, _ := q.due(); texts(got) != want {
			t.Errorf("%q, want %q", texts(got), want)
		}
	}
	if !q.completed("c", "three") || !q.completed("b", " two \n two") {
		t.Error("an answer was refused")
	}
	due("")
	if q.completed("c", "again") || q.completed("x", "a stranger") {
		t.Error("an answer that nobody waits for was taken")
	}
	if _, ok := q.delta("b", "late"); ok {
		t.Error("a delta of what has its text")
	}
	if r, ok := q.delta("a", "on"); !ok || r.Text != "on" || r.Start != 100 {
		t.Errorf("%+v, %v", r, ok)
	}
	if r, ok := q.delta("a", "e"); !ok || r.Text != "one" {
		t.Errorf("%+v, %v", r, ok)
	}
	q.completed("a", "one")
	q.finish()
	got, waits, over := q.due()
	if texts(got) != "one|two two|three|" || waits || !over {
		t.Errorf("%q, waits %v, over %v", texts(got), waits, over)
	}
	if last := got[3]; last.Start != 3000 || last.End != 4000 || !last.Final {
		t.Errorf("silence %+v", last)
	}
}

func TestItemsOfTheServer(t *testing.T) {
	t.Run("begun before the end", func(t *testing.T) {
		var q items
		q.begin(0)
		if r, ok := q.delta("a", "hello "); !ok || r.Text != "hello" {
			t.Errorf("%+v, %v", r, ok)
		}
		if q.completed("a", "hello") {
			t.Error("it is not whole yet")
		}
		q.commit(0, 1000)
		if err := q.committed("a", ""); err != nil || !q.completed("a", "hello you") {
			t.Error(err)
		}
	})
	t.Run("a click", func(t *testing.T) {
		var q items
		q.begin(0)
		q.silence(0, 500)
		if got, waits, _ := q.due(); len(got) != 1 || got[0].Text != "" || waits {
			t.Errorf("%+v", got)
		}
	})
	t.Run("another order", func(t *testing.T) {
		var q items
		for range 2 {
			q.begin(0)
			q.commit(0, 1)
		}
		if err := errors.Join(q.committed("a", ""), q.committed("c", "b")); !errors.Is(err, errOrder) {
			t.Error(err)
		}
	})
	t.Run("one too many", func(t *testing.T) {
		var q items
		if err := q.committed("a", ""); !errors.Is(err, errOrder) {
			t.Error(err)
		}
	})
}

func TestEvents(t *testing.T) {
	for _, c := range []struct {
		text, err string
		after     time.Duration
	}{
		{`{"type":"session.created","session":{"id":"sess_1"}}`, "", 0},
		{`{"type":"something.new","error":null}`, "", 0},
		{`{"type":"conversation.item.input_audio_transcription.failed","item_id":"a","error":{"type":"transcription_error","code":"audio_unintelligible","message":"cannot"}}`, "not recognized: audio_unintelligible cannot", 0},
		{`{"type":"error","error":{"type":"invalid_request_error","code":null,"message":"bad","param":null}}`, "invalid_request_error bad", 0},
		{`{"type":"error","error":{"code":"insufficient_quota","message":"pay"}}`, "pay", 30 * time.Second},
		{`{"type":"error","error":{"code":"rate_limit_exceeded","message":"slow"}}`, "slow", busy},
		{`{"type":"error"}`, "the server says", 0},
		{`}{`, "cannot be read", 0},
	} {
		_, err := parse([]byte(c.text))
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: error %v, want %q", c.text, err, c.err)
		}
		var retry *transcribe.RetryError
		if errors.As(err, &retry) != (c.after > 0) || c.after > 0 && retry.After != c.after {
			t.Errorf("%s: %+v", c.text, retry)
		}
	}
}

func FuzzEvents(f *testing.F) {
	f.Add(`{"type":"input_audio_buffer.committed","item_id":"a"}`, `{"type":"conversation.item.input_audio_transcription.completed","item_id":"a","transcript":"x"}`)
	f.Add(`{"type":"conversation.item.input_audio_transcription.delta","item_id":"a","delta":"x"}`, `}{`)
	f.Fuzz(func(t *testing.T, a, b string) {
		var q items
		for i := range int64(2) {
			q.begin(i * 100)
			q.commit(i*100, i*100+100)
		}
		var end int64
		for _, text := range []string{a, b} {
			e, err := parse([]byte(text))
			if err != nil {
				continue
			}
			_ = q.committed(e.ItemID, e.PreviousItemID)
			q.delta(e.ItemID, e.Delta)
			q.completed(e.ItemID, e.Transcript)
			due, _, _ := q.due()
			for _, r := range due {
				if r.Start != end {
					t.Fatalf("%+v after %d", r, end)
				}
				end = r.End
			}
		}
	})
}
