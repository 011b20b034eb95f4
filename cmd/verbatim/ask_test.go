package main

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// `verbatim health` tells by its exit code, and says why.
func TestHealth(t *testing.T) {
	s := serve(t, t.TempDir(), "none:", "--admin", "127.0.0.1:0")
	full := serve(t, t.TempDir(), "none:", "--min-free", "1000000TB")
	for name, c := range map[string]struct {
		args []string
		good bool
		want string
	}{
		"ready":         {[]string{"--url", s.url}, true, "ready"},
		"by admin":      {[]string{"--url", s.admin + "/"}, true, "ready"},
		"alive":         {[]string{"--url", s.url, "--alive"}, true, "ok"},
		"not ready":     {[]string{"--url", full.url}, false, "--min-free"},
		"alive, though": {[]string{"--url", full.url, "--alive"}, true, "ok"},
		"never ready":   {[]string{"--url", full.url, "--wait", "300ms"}, false, "--min-free"},
		"nobody there":  {[]string{"--url", "http://127.0.0.1:1"}, false, "refused"},
		"another's":     {[]string{"--url", s.url + "/nothing"}, false, "404"},
		"no URL":        {[]string{"--url", "127.0.0.1:8080"}, false, "--url"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := verbatim(t.Context(), append([]string{"health"}, c.args...)...).CombinedOutput()
			if (err == nil) != c.good || !strings.Contains(string(out), c.want) {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	s.stop()
	full.stop()
}

// What waits for a server has it as soon as it is there.
func TestHealthWaits(t *testing.T) {
	address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	asks := verbatim(t.Context(), "health", "--url", "http://"+address, "--wait", "1m")
	if err := asks.Start(); err != nil {
		t.Fatal(err)
	}
	s := serve(t, t.TempDir(), "none:", "--listen", address)
	if err := asks.Wait(); err != nil {
		t.Error(err)
	}
	s.stop()
}

// A systemd that starts the server with Type=notify is told when it serves, and when
// it begins to end.
func TestSystemdIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	told := func() string {
		t.Helper()
		b := make([]byte, 100)
		if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	s := serve(t, t.TempDir(), "none:")
	if got := told(); got != "READY=1" {
		t.Errorf("it is told %q", got)
	}
	if got := status(t, s.url+"/readyz"); got != 200 {
		t.Errorf("ready, and /readyz answers %d", got)
	}
	s.stop()
	if got := told(); got != "STOPPING=1" {
		t.Errorf("it is told %q", got)
	}
}
