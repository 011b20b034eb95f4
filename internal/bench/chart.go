//go:build linux

package bench

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/template"
	"time"
)

// Sizes of a chart's panels, in pixels.
const (
	chartWidth, chartHeight = 560.0, 200.0
	chartLeft, chartTop     = 64.0, 56.0
	chartGap                = 64.0
)

// panel is one diagram over the number of streams.
type panel struct {
	Title  string
	Y      float64 // of its upper edge
	XTicks []tick
	YTicks []tick
	Limit  tick // a line that says what must not be passed
	Lines  []line
}

type tick struct {
	At   float64
	Text string
}

type line struct {
	Color, Name string
	NameX       float64
	Points      []point
}

type point struct {
	X, Y float64
	Open bool // the step did not hold
}

// Path is the line through the points.
func (l line) Path() string {
	var b strings.Builder
	for _, p := range l.Points {
		fmt.Fprintf(&b, "%.1f,%.1f ", p.X, p.Y)
	}
	return b.String()
}

var chartText = template.Must(template.New("chart").Parse(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {{.W}} {{.H}}" font-family="sans-serif" font-size="12" fill="#333">
<rect width="100%" height="100%" fill="#fff"/>
<text x="{{.Left}}" y="22" font-size="15" font-weight="bold">{{.Title}}</text>
{{range .Panels}}<g transform="translate({{$.Left}} {{.Y}})">
<text y="-10">{{.Title}}</text>
{{range .YTicks}}<path d="M0 {{.At}}H{{$.PW}}" stroke="#ddd"/><text x="-8" y="{{.At}}" dy="4" text-anchor="end">{{.Text}}</text>
{{end}}{{range .XTicks}}<path d="M{{.At}} {{$.PH}}v5" stroke="#333"/><text x="{{.At}}" y="{{$.PH}}" dy="19" text-anchor="middle">{{.Text}}</text>
{{end}}<path d="M0 0V{{$.PH}}H{{$.PW}}" fill="none" stroke="#333"/>
<path d="M0 {{.Limit.At}}H{{$.PW}}" stroke="#c0392b" stroke-dasharray="5 4"/><text x="{{$.PW}}" y="{{.Limit.At}}" dy="-5" text-anchor="end" fill="#c0392b">{{.Limit.Text}}</text>
{{range .Lines}}{{$color := .Color}}<polyline points="{{.Path}}" fill="none" stroke="{{$color}}" stroke-width="2"/>
{{range .Points}}<circle cx="{{.X}}" cy="{{.Y}}" r="3.5" fill="{{if .Open}}#fff{{else}}{{$color}}{{end}}" stroke="{{$color}}" stroke-width="1.5"/>
{{end}}<text x="{{.NameX}}" y="-10" text-anchor="end" fill="{{$color}}">{{.Name}}</text>
{{end}}</g>
{{end}}<text x="{{.Left}}" y="{{.Foot}}" fill="#666">streams; an empty circle is a step that did not hold</text>
</svg>
`))

// chart draws CPU and delay over the number of streams.
func (r *report) chart(w io.Writer, slo time.Duration) error {
	var maxN, maxCPU float64
	maxDelay := 1.2 * ms(slo)
	for _, s := range r.Steps {
		maxN, maxCPU = max(maxN, float64(s.Streams)), max(maxCPU, s.CPUPercent)
		maxDelay = max(maxDelay, min(s.Delay.P99, 2*ms(slo)))
	}
	all := 100 * float64(r.Machine.count)
	maxCPU = max(maxCPU, 1.1*all)
	curve := func(name, color string, nameX, top float64, value func(*Step) float64) line {
		l := line{Color: color, Name: name, NameX: nameX}
		for i := range r.Steps {
			s := &r.Steps[i]
			if s.measured() {
				l.Points = append(l.Points, point{
					X: chartWidth * float64(s.Streams) / maxN, Y: chartHeight * (1 - min(value(s), top)/top), Open: s.Why != "",
				})
			}
		}
		return l
	}
	second := chartTop + chartHeight + chartGap
	panels := []panel{
		{
			Title: "CPU time, % of one CPU", Y: chartTop, XTicks: ticks(maxN, false), YTicks: ticks(maxCPU, true),
			Limit: tick{chartHeight * (1 - all/maxCPU), "all that the server has"},
			Lines: []line{curve("", "#2471a3", chartWidth, maxCPU, func(s *Step) float64 { return s.CPUPercent })},
		},
		{
			Title: "Delay from due to recognizer, ms", Y: second, XTicks: ticks(maxN, false), YTicks: ticks(maxDelay, true),
			Limit: tick{chartHeight * (1 - ms(slo)/maxDelay), "bar for p99"},
			Lines: []line{
				curve("p50", "#229954", chartWidth-40, maxDelay, func(s *Step) float64 { return s.Delay.P50 }),
				curve("p99", "#ca6f1e", chartWidth, maxDelay, func(s *Step) float64 { return s.Delay.P99 }),
			},
		},
	}
	title := fmt.Sprintf("Profile %s: %.0f streams per vCPU (Opus by %s)", r.Profile, r.StreamsPerVCPU, r.Machine.Codec)
	if r.Peer != "" {
		title = fmt.Sprintf("A peer, profile %s: %.0f streams per vCPU", r.Profile, r.StreamsPerVCPU)
	}
	return chartText.Execute(w, map[string]any{
		"W": chartLeft + chartWidth + 32, "H": second + chartHeight + 56, "Left": chartLeft, "PW": chartWidth, "PH": chartHeight,
		"Foot": second + chartHeight + 44, "Title": title, "Panels": panels,
	})
}

// ticks are round values from 0 up to the end of an axis.
func ticks(end float64, vertical bool) (all []tick) {
	step := math.Pow(10, math.Floor(math.Log10(end/2)))
	for _, f := range []float64{1, 2, 5} {
		if end/(f*step) <= 8 {
			step *= f
			break
		}
	}
	for v := 0.0; v <= end; v += step {
		at := chartWidth * v / end
		if vertical {
			at = chartHeight * (1 - v/end)
		}
		all = append(all, tick{at, fmt.Sprintf("%g", v)})
	}
	return all
}
