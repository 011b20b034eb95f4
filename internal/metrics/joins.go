package metrics

import "github.com/prometheus/client_golang/prometheus"

// Joins counts WHIP offers by what became of them.
type Joins struct {
	total *prometheus.CounterVec
	// Joined are those whose audio came; Silent those that got an answer and never
	// sent any; Refused those that were wrong; Unavailable those that the server
	// could not take.
	Joined, Silent, Refused, Unavailable prometheus.Counter
	// Seconds are from the offer to the first audio.
	Seconds prometheus.Histogram
}

// NewJoins makes one; it is shown by being among the Sources.
func NewJoins() *Joins {
	j := &Joins{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "verbatim_joins_total",
			Help: "WHIP offers, by what became of them: joined (audio came), silent (answered, but no audio came), refused (4xx), unavailable (5xx).",
		}, []string{"result"}),
		Seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "verbatim_join_duration_seconds", Help: "From a WHIP offer to its first audio, in seconds.",
			Buckets: []float64{.1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
	}
	j.Joined, j.Silent = j.total.WithLabelValues("joined"), j.total.WithLabelValues("silent")
	j.Refused, j.Unavailable = j.total.WithLabelValues("refused"), j.total.WithLabelValues("unavailable")
	return j
}
