package metrics

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Requests counts HTTP requests.
type Requests struct {
	total   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

// NewRequests makes one; it is shown by being among the Sources.
func NewRequests() *Requests {
	return &Requests{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "verbatim_http_requests_total", Help: "HTTP requests that were answered, by the pattern of their route (empty: none).",
		}, []string{"method", "route", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "verbatim_http_request_duration_seconds", Help: "How long answers took, in seconds; without event streams and WebSockets, which go on.",
			Buckets: []float64{.005, .025, .1, .5, 2.5, 10},
		}, []string{"route"}),
	}
}

// endless are routes whose answers go on.
var endless = map[string]bool{"/v1/rooms/{room}/events": true, "/v1/rooms/{room}/ingest": true}

// Observe counts one. method and route must be of a bounded number.
func (r *Requests) Observe(method, route string, status int, d time.Duration) {
	r.total.WithLabelValues(method, route, strconv.Itoa(status)).Inc()
	if !endless[route] {
		r.seconds.WithLabelValues(route).Observe(d.Seconds())
	}
}
