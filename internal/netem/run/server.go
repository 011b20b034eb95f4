//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"verbatim/pipeline/meeting"
	"verbatim/signaling/whipclient"
)

// server is the real one of a cell.
type server struct {
	cmd    *exec.Cmd
	log    *os.File
	client whipclient.Client
}

// startServers starts the servers of all sites and waits until they serve.
func (h *harness) startServers(ctx context.Context, sites []*site) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, s := range sites {
		address := netip.AddrPortFrom(s.ip, port).String()
		log, err := os.Create(filepath.Join(s.dir, "server.log"))
		if err != nil {
			return err
		}
		cmd := exec.Command(h.o.verbatim, "serve", "--insecure", "--listen", address, "--media-listen", address, //nolint:noctx // SIGTERM ends it
			"--data", filepath.Join(s.dir, "data"), "--recognizer", fmt.Sprintf("command:%q tap %q", self, filepath.Join(s.dir, "tap")))
		cmd.Stdout, cmd.Stderr = log, log
		if err := h.servers.Do(cmd.Start); err != nil {
			return errors.Join(fmt.Errorf("start the server: %w", err), log.Close())
		}
		s.server = &server{cmd: cmd, log: log, client: whipclient.Client{URL: "http://" + address}}
	}
	for _, s := range sites {
		if err := s.server.ready(ctx); err != nil {
			out, _ := os.ReadFile(s.server.log.Name())
			return fmt.Errorf("%s: %w: %s", h.o.verbatim, err, out)
		}
	}
	return nil
}

func stopServers(sites []*site) (err error) {
	for _, s := range sites {
		if s.server != nil {
			_ = s.server.cmd.Process.Signal(syscall.SIGTERM) // it may be gone
		}
	}
	for _, s := range sites {
		if s.server == nil {
			continue
		}
		kill := time.AfterFunc(20*time.Second, func() { _ = s.server.cmd.Process.Kill() })
		_ = s.server.cmd.Wait() // its log tells
		kill.Stop()
		err = errors.Join(err, s.server.log.Close())
	}
	return err
}

func (s *server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, errors.New("the server does not serve"))
	defer cancel()
	for {
		err := s.get(ctx, "/readyz", io.Discard)
		if err == nil {
			return nil
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// finished waits until the one track of a meeting is done.
func (s *server) finished(ctx context.Context, id string) (t meeting.Track, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("the track does not end"))
	defer cancel()
	for {
		var m meeting.Meeting
		if err := s.client.Get(ctx, "/v1/meetings/"+id, &m); err != nil {
			return t, errors.Join(err, context.Cause(ctx))
		}
		if len(m.Tracks) != 1 {
			return t, fmt.Errorf("the meeting has %d tracks", len(m.Tracks))
		}
		switch t = m.Tracks[0]; {
		case t.State == meeting.TrackComplete && t.EndedBy == "left":
			return t, nil
		case t.State == meeting.TrackComplete, t.State == meeting.TrackIncomplete:
			return t, fmt.Errorf("the track is %s, ended by %s", t.State, t.EndedBy)
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return t, err
		}
	}
}

// download keeps the PCM of a track.
func (s *server) download(ctx context.Context, meetingID, track, file string) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return s.get(ctx, "/v1/meetings/"+meetingID+"/tracks/"+track+"/audio.wav", f)
}

func (s *server) get(ctx context.Context, path string, to io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.client.URL+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, resp.Status)
	}
	_, err = io.Copy(to, resp.Body)
	return err
}

// sleep waits; the error is the cause of ctx's end.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
