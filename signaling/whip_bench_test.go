package signaling

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// BenchmarkNegotiate is one offer, from the request to the answer, and the end
// of the session, which goes on beside the next. Ten participants are in a room.
func BenchmarkNegotiate(b *testing.B) {
	s := begin(b, Config{})
	handler, text := s.server.Routes(), offer(b)
	ask := func(method, path, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(b.Context(), method, s.url+path, strings.NewReader(body))
		r.Header.Set("Content-Type", sdpType)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		w := ask(http.MethodPost, fmt.Sprintf("/v1/rooms/r%d/whip?participant=p%d", i/10, i%10), text)
		if w.Code != http.StatusCreated {
			b.Fatalf("%d: %s", w.Code, w.Body)
		}
		_, session, _ := strings.Cut(w.Header().Get("Location"), "/v1/")
		if w := ask(http.MethodDelete, "/v1/"+session, ""); w.Code != http.StatusOK {
			b.Fatalf("%d: %s", w.Code, w.Body)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "negotiations/s")
	for s.engine.Sessions() > 0 {
		time.Sleep(time.Millisecond)
	}
}
