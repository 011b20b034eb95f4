// Package metrics shows the numbers of a running server to Prometheus.
//
// But for HTTP requests and joins it has no numbers of its own: with every scrape it asks the parts for theirs,
// which they have anyway. So the parts do not know of Prometheus, and nothing is
// paid for between scrapes. docs/OPERATIONS.md says what each number means.
//
// No label names a meeting, a track or a participant: what can be told apart is
// known when the server starts.
package metrics

import (
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"verbatim/media"
	"verbatim/media/ingest"
	"verbatim/media/relay"
	"verbatim/pipeline"
	"verbatim/pipeline/events"
	"verbatim/pipeline/forward"
	"verbatim/pipeline/tracklog"
	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/webhook"
)

// maxScrapes is how many may be answered at a time.
const maxScrapes = 4

// Sources are what is asked. They are called from any goroutine, and must not
// wait for anything slow.
type Sources struct {
	Pipeline func() pipeline.Stats
	Engines  func() []transcribe.EngineStats // nil: nothing is transcribed
	Logs     func() tracklog.Stats
	Media    func() media.Stats
	Ingest   func() ingest.Stats
	Relay    func() relay.Stats // nil: there is no TURN server
	Events   func() events.Stats
	Webhooks []func() webhook.Stats
	Requests *Requests
	Joins    *Joins
	Draining func() bool
	Limited  func() map[string]uint64 // requests and connections that a limit refused
	Used     func() map[string]int    // what is taken of limits in all
	Version  string
	Link     func() events.LinkStats // nil: there is no NATS
	Forward  func() forward.Stats    // nil: nothing is forwarded
}

// Handler answers scrapes. It starts nothing.
func Handler(s Sources, log *slog.Logger) http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(
		collector{s},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		s.Requests.total, s.Requests.seconds, s.Joins.total, s.Joins.Seconds,
	)
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelError),
		ErrorHandling:       promhttp.ContinueOnError, // one bad number hides no others
		MaxRequestsInFlight: maxScrapes,
	})
}
