package signaling

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// What fails, fails by itself; what hangs has failed when its time is over, is not
// asked again meanwhile, and is fine once it answers.
func TestChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Pointer[error]
		set := func(err error) { broken.Store(&err) }
		set(nil)
		var asked atomic.Int32
		hang := make(chan struct{})
		s := New(Config{Logger: slog.New(slog.DiscardHandler), Ready: []Check{
			{Name: "fine", Hint: "never said", Run: func(context.Context) error { return nil }},
			{Name: "breaks", Hint: "mend it", Run: func(context.Context) error { return *broken.Load() }},
			{Name: "hangs", Hint: "push it", Run: func(context.Context) error { asked.Add(1); <-hang; return nil }},
		}})
		ask := func(h http.HandlerFunc) (int, string) {
			w := httptest.NewRecorder()
			h(w, httptest.NewRequest(http.MethodGet, "/", nil))
			return w.Code, w.Body.String()
		}
		began := time.Now()
		code, body := ask(s.Readyz)
		if code != http.StatusServiceUnavailable || !strings.Contains(body, `"hangs: push it."`) || time.Since(began) != checkTimeout {
			t.Errorf("after %v: %d %s", time.Since(began), code, body)
		}
		if code, _ := ask(s.Healthz); code != http.StatusOK {
			t.Errorf("not ready is not dead: %d", code)
		}
		time.Sleep(2 * checkFresh)
		set(errors.New("secret"))
		began = time.Now()
		code, body = ask(s.Readyz)
		if code != http.StatusServiceUnavailable || !strings.Contains(body, `"breaks: mend it. hangs: push it."`) || strings.Contains(body, "secret") || time.Since(began) != 0 || asked.Load() != 1 {
			t.Errorf("after %v, asked %d times: %d %s", time.Since(began), asked.Load(), code, body)
		}
		close(hang)
		set(nil)
		if code, _ := ask(s.Readyz); code != http.StatusServiceUnavailable {
			t.Errorf("it is asked too often: %d", code)
		}
		time.Sleep(2 * checkFresh)
		if code, body := ask(s.Readyz); code != http.StatusOK || body != "ready\n" {
			t.Errorf("%d %s", code, body)
		}
		s.Drain()
		if code, body := ask(s.Readyz); code != http.StatusServiceUnavailable || !strings.Contains(body, "shutting-down") {
			t.Errorf("%d %s", code, body)
		}
	})
}
