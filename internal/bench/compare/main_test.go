package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCompare(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ours := file("ours", `{"profile": "browser", "streams_per_vcpu": 400, "cpu_ms_per_stream_second": 2, "rss_mb_per_stream": 0.25, "delay_ms": {"p50": 2, "p99": 90, "max": 120}}`)
	theirs := file("theirs", `{"profile": "browser", "streams_per_vcpu": 160, "cpu_ms_per_stream_second": 5, "rss_mb_per_stream": 0.5, "delay_ms": {"p50": 61, "p99": 240, "max": 300}}`)
	other := file("other", `{"profile": "default", "streams_per_vcpu": 160, "cpu_ms_per_stream_second": 5}`)
	none := file("none", `{"profile": "browser", "streams_per_vcpu": 0, "cpu_ms_per_stream_second": 0}`)

	var out bytes.Buffer
	if err := run(&out, []string{"ours", ours, "as it is", "theirs", theirs, "at its best"}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	want := []string{
		"| ours | 400 | 1.0 × | 2.00 | 1.0 × | 0.25 | 2 | 90 | as it is |",
		"| theirs | 160 | 2.5 × | 5.00 | 2.5 × | 0.50 | 61 | 240 | at its best |",
	}
	if len(lines) != 4 || lines[2] != want[0] || lines[3] != want[1] {
		t.Errorf("the table is\n%s\nwant the rows\n%s", out.String(), strings.Join(want, "\n"))
	}

	out.Reset()
	if err := run(&out, []string{"-cpu", "theirs", theirs, "", "ours", ours, "", "theirs", ours, "again"}); err != nil {
		t.Fatal(err)
	}
	if row := "| theirs | 2.00 | 1.00 × | 0.25 | again |\n| ours | 2.00 | 1.00 × | 0.25 |  |\n"; !strings.HasSuffix(out.String(), row) {
		t.Errorf("the table is\n%s\nwant the rows\n%s", out.String(), row)
	}

	for name, args := range map[string][]string{
		"nothing":           {},
		"no settings":       {"ours", ours},
		"no such file":      {"ours", filepath.Join(dir, "missing"), ""},
		"another profile":   {"ours", ours, "", "other", other, ""},
		"that no step held": {"ours", ours, "", "none", none, ""},
		"not JSON":          {"ours", file("text", "text"), ""},
	} {
		if err := run(&out, args); err == nil {
			t.Errorf("no error for %s", name)
		}
	}
}
