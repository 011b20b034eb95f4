package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"verbatim/internal/natstest"
	"verbatim/internal/speech"
	"verbatim/pipeline/meeting"
)

// ruleFile is what Prometheus reads of deploy/prometheus/alerts.yaml; it refuses all
// other keys.
type ruleFile struct {
	Groups []struct {
		Name  string `yaml:"name"`
		Rules []struct {
			Alert       string            `yaml:"alert"`
			Expr        string            `yaml:"expr"`
			For         string            `yaml:"for"`
			Labels      map[string]string `yaml:"labels"`
			Annotations map[string]string `yaml:"annotations"`
		} `yaml:"rules"`
	} `yaml:"groups"`
}

var (
	metricName = regexp.MustCompile(`\b(?:verbatim|go|process)_[a-z0-9_]+`)
	labelNames = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!=|!~|=)\s*"`)
)

// Whatever the alerts and the dashboard name is in a scrape of a server to which
// somebody has spoken, with the labels that they ask for. (That Prometheus
// understands their expressions is checked by tools/promql.)
func TestAlertsAndDashboard(t *testing.T) {
	t.Setenv(beRecognizer, "1")
	broker := natstest.New(t, natstest.JetStream(t.TempDir()))
	s := serve(t, t.TempDir(), "command:"+os.Args[0], "--nats", broker.URL, "--forward", "jetstream")
	pcm := speech.PCM("sas-0880")
	c := s.ingest("?participant=ada", 16000, "")
	c.send(pcm, 0, len(pcm))
	c.end(len(pcm))
	s.until("something was said", func(m meeting.Meeting) bool { return m.Coverage.TranscribedMS > 0 })
	scrape := string(s.get("/metrics"))
	known, labels := map[string]bool{}, map[string]bool{"instance": true, "job": true}
	for line := range strings.Lines(scrape) {
		if !strings.HasPrefix(line, "#") {
			known[metricName.FindString(line)] = true
			for _, l := range labelNames.FindAllStringSubmatch(line, -1) {
				labels[l[1]] = true
			}
		} else if f := strings.Fields(line); len(f) > 3 && f[1] == "TYPE" {
			known[f[2]] = true // of those that have series only with time
		}
	}
	for _, path := range []string{"../../deploy/prometheus/alerts.yaml", "../../deploy/grafana/verbatim.json"} {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		names := metricName.FindAllString(string(b), -1)
		if len(names) < 15 {
			t.Errorf("%s names %d metrics", path, len(names))
		}
		for _, name := range names {
			if !known[name] {
				t.Errorf("%s names %s, which no server has", path, name)
			}
		}
		for _, l := range labelNames.FindAllStringSubmatch(strings.ReplaceAll(string(b), `\"`, `"`), -1) {
			if !labels[l[1]] {
				t.Errorf("%s names the label %s", path, l[1])
			}
		}
	}
	s.stop()

	b, err := os.ReadFile("../../deploy/prometheus/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var rules ruleFile
	d := yaml.NewDecoder(strings.NewReader(string(b)))
	d.KnownFields(true)
	if err := d.Decode(&rules); err != nil {
		t.Fatal(err)
	}
	operations, err := os.ReadFile("../../docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			if r.Alert == "" || r.Expr == "" || seen[r.Alert] || r.Annotations["summary"] == "" || r.Annotations["action"] == "" ||
				(r.Labels["severity"] != "page" && r.Labels["severity"] != "ticket") {
				t.Errorf("a rule is not whole, or there twice: %+v", r)
			}
			if !strings.Contains(string(operations), "`"+r.Alert+"`") {
				t.Errorf("docs/OPERATIONS.md does not tell of %s", r.Alert)
			}
			seen[r.Alert] = true
		}
	}
}

// docs/OPERATIONS.md tells of every metric, and of no other.
func TestMetricsAreTold(t *testing.T) {
	s := serve(t, t.TempDir(), "none:")
	scrape := string(s.get("/metrics"))
	s.stop()
	b, err := os.ReadFile("../../docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(scrape) {
		if f := strings.Fields(line); len(f) > 3 && f[1] == "TYPE" && strings.HasPrefix(f[2], "verbatim_") {
			if name := strings.TrimPrefix(f[2], "verbatim_"); !regexp.MustCompile("`(verbatim_)?" + name + "[`{]").Match(b) {
				t.Errorf("docs/OPERATIONS.md does not tell of %s", name)
			}
		}
	}
}
