package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"verbatim/signaling"
	"verbatim/signaling/whipclient"
)

const (
	healthTimeout = 5 * time.Second // /readyz answers within 2
	healthAgain   = 200 * time.Millisecond
)

// healthCmd asks a server how it is, for what can only run a program: an image
// without a shell, a unit of systemd.
type healthCmd struct {
	URL   string        `help:"The server, or the address of its --admin." default:"http://127.0.0.1:8080" env:"VERBATIM_HEALTH_URL"`
	Alive bool          `help:"Ask whether it can do its work at all (/healthz), not whether it takes new sessions (/readyz): what a restart may depend on."`
	Wait  time.Duration `help:"How long to ask again until the answer is good." default:"0s"`
}

// Run returns an error unless the server says that it is well.
func (c *healthCmd) Run(ctx context.Context) error {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return errors.New("--url is the server's address, such as http://127.0.0.1:8080")
	}
	path := "/readyz"
	if c.Alive {
		path = "/healthz"
	}
	u = u.JoinPath(path)
	for until := time.Now().Add(c.Wait); ; {
		said, err := askHealth(ctx, u.String())
		if err == nil {
			fmt.Println(said)
			return nil
		}
		if !time.Now().Before(until) {
			return err
		}
		select {
		case <-time.After(healthAgain):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// askHealth returns what the server says when it is well, else an error with what it
// says is wrong.
func askHealth(ctx context.Context, target string) (said string, err error) {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return "", err
	}
	if resp.StatusCode == http.StatusOK {
		return strings.TrimSpace(string(b)), nil
	}
	var p signaling.Problem
	if json.Unmarshal(b, &p) == nil && p.Detail != "" {
		return "", fmt.Errorf("%s: %s", resp.Status, p.Detail)
	}
	if whipclient.WantsHTTPS(req.URL, resp.StatusCode, b) {
		return "", fmt.Errorf("this port speaks HTTPS; try https://%s", req.URL.Host)
	}
	return "", errors.New(resp.Status)
}

// tellSystemd says how the server is to the systemd that has started it, if one
// has (sd_notify(3)): READY=1, STOPPING=1.
func tellSystemd(state string, log *slog.Logger) {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err == nil {
		_, err = c.Write([]byte(state)) // a datagram: it waits for nobody
		err = errors.Join(err, c.Close())
	}
	if err != nil {
		log.Warn("systemd was not told how the server is", "state", state, "err", err)
	}
}
