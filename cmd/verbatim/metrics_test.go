package main

import (
	"bytes"
	"context"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"verbatim/pipeline/meeting"
)

// scrape is what /metrics says: the number of each series, written as in
// Prometheus, and of each histogram its count.
func (s *process) scrape() map[string]float64 {
	s.t.Helper()
	text := s.get("/metrics")
	problems, err := promlint.New(bytes.NewReader(text)).Lint()
	if err != nil || len(problems) > 0 {
		s.t.Errorf("names: %v, %v", problems, err)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		s.t.Fatalf("%v in\n%s", err, text)
	}
	got := map[string]float64{}
	for name, f := range families {
		for _, m := range f.Metric {
			labels := make([]string, 0, 1)
			for _, l := range m.Label {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			series := name
			if len(labels) > 0 {
				series += "{" + strings.Join(labels, ",") + "}"
			}
			got[series] = value(f.GetType(), m)
		}
	}
	return got
}

func value(kind dto.MetricType, m *dto.Metric) float64 {
	switch kind {
	case dto.MetricType_COUNTER:
		return m.GetCounter().GetValue()
	case dto.MetricType_HISTOGRAM:
		return float64(m.GetHistogram().GetSampleCount())
	case dto.MetricType_SUMMARY:
		return float64(m.GetSummary().GetSampleCount())
	default:
		return m.GetGauge().GetValue()
	}
}

func TestMetrics(t *testing.T) {
	t.Setenv(beRecognizer, "1")
	s := serve(t, t.TempDir(), "command:"+os.Args[0])
	check := func(when string, got, want map[string]float64) {
		t.Helper()
		for _, name := range slices.Sorted(maps.Keys(want)) {
			if v, ok := got[name]; !ok || v != want[name] {
				t.Errorf("%s: %s is %v (there: %v), want %v", when, name, v, ok, want[name])
			}
		}
	}
	check("at first", s.scrape(), map[string]float64{
		"verbatim_tracks{state=live}": 0, "verbatim_tracks{state=circuit_open}": 0, "verbatim_sessions{via=whip}": 0,
		"verbatim_sessions_started_total{via=ingest}": 0, "verbatim_tracklog_memory_limit_bytes": 64 << 20,
		"verbatim_transcript_seconds_total{outcome=skipped}": 0, "verbatim_event_streams": 0,
		"verbatim_limit_refusals_total{limit=rate}": 0,
	})

	watching, stop := context.WithCancel(t.Context())
	opened := make(chan struct{})
	first := true
	go s.watch(watching, "r", "", func(seen) {
		if first {
			close(opened)
		}
		first = false
	})
	<-opened
	check("with someone who watches", s.scrape(), map[string]float64{"verbatim_event_streams": 1})
	pub := verbatim(t.Context(), "publish", opusFile(t, "sas-0870"), "--room", "r", "--url", s.url)
	if err := pub.Start(); err != nil {
		t.Fatal(err)
	}
	s.until("a transcript that grows", func(m meeting.Meeting) bool {
		return len(m.Tracks) == 1 && m.Tracks[0].Coverage.TranscribedMS > 2000
	})
	before := s.scrape()
	check("meanwhile", before, map[string]float64{
		"verbatim_tracks{state=live}": 1, "verbatim_sessions{via=whip}": 1, "verbatim_tracklog_open_logs": 1,
	})
	engine := ""
	for name, v := range before {
		if e, ok := strings.CutPrefix(name, "verbatim_recognizer_streams{engine="); ok && v == 1 {
			engine = e // with its brace
		}
	}
	if engine == "" {
		t.Fatal("no recognizer has a stream")
	}

	if err := pub.Wait(); err != nil {
		t.Fatal(err)
	}
	stop()
	var after map[string]float64
	m := s.until("all is transcribed, and the session is over", func(m meeting.Meeting) bool {
		after = s.scrape()
		return m.Tracks[0].State == meeting.TrackComplete && after["verbatim_sessions{via=whip}"] == 0 &&
			after["verbatim_tracks{state=live}"] == 0 && after["verbatim_recognizer_streams{engine="+engine] == 0
	})
	for name, v := range before {
		if strings.HasPrefix(name, "verbatim_") && strings.Contains(name, "_total") && after[name] < v {
			t.Errorf("%s ran back from %v to %v", name, v, after[name])
		}
	}
	n := float64(bytes.Count(s.get("/v1/meetings/"+m.ID+"/transcript.json"), []byte(`"final":`)))
	c := m.Coverage
	check("at the end", after, map[string]float64{
		"verbatim_tracks{state=live}": 0, "verbatim_sessions{via=whip}": 0, "verbatim_sessions_started_total{via=whip}": 1,
		"verbatim_segments_total{engine=" + engine: n, "verbatim_segment_delay_seconds": n,
		"verbatim_recognizer_finals_total{engine=" + engine:         n,
		"verbatim_recognizer_streams{engine=" + engine:              0,
		"verbatim_recognizer_streams_opened_total{engine=" + engine: 1,
		"verbatim_recognizer_failures_total{engine=" + engine:       0,
		"verbatim_recognizer_circuit_open{engine=" + engine:         0,
		"verbatim_transcript_pending_seconds":                       0,
		"verbatim_tracklog_failures_total{operation=write}":         0,
	})
	for series, ms := range map[string]int64{
		"verbatim_audio_seconds_total{kind=received}":            c.ReceivedMS,
		"verbatim_audio_seconds_total{kind=recovered}":           c.RecoveredMS,
		"verbatim_audio_seconds_total{kind=silence}":             c.SilenceMS,
		"verbatim_audio_seconds_total{kind=shed}":                0,
		"verbatim_transcript_seconds_total{outcome=transcribed}": c.DurationMS,
	} {
		if got := after[series] * 1000; got < float64(ms)-1 || got > float64(ms)+1 {
			t.Errorf("%s is %v ms, the meeting says %d ms", series, got, ms)
		}
	}
	if after["verbatim_commit_seconds"] < n || after["go_goroutines"] == 0 || after["process_resident_memory_bytes"] == 0 {
		t.Errorf("%v commits of %v segments, %v goroutines, %v bytes", after["verbatim_commit_seconds"], n,
			after["go_goroutines"], after["process_resident_memory_bytes"])
	}
	s.stop()
}
