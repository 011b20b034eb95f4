//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"verbatim/internal/harness"
	"verbatim/pipeline/meeting"
)

// startServers starts the servers of all sites and waits until they serve.
func (h *bench) startServers(ctx context.Context, sites []*site) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, s := range sites {
		address := netip.AddrPortFrom(s.ip, port).String()
		s.server, err = harness.StartServer(harness.ServerOptions{
			Binary: h.o.verbatim, Listen: address, Media: address,
			Data: filepath.Join(s.dir, "data"), Log: filepath.Join(s.dir, "server.log"),
			Flags: []string{"--recognizer", fmt.Sprintf("command:%q tap %q", self, filepath.Join(s.dir, "tap"))},
			Start: h.servers.Do,
		})
		if err != nil {
			return err
		}
	}
	for _, s := range sites {
		if err := s.server.Ready(ctx); err != nil {
			out, _ := os.ReadFile(filepath.Join(s.dir, "server.log"))
			return fmt.Errorf("%s: %w: %s", h.o.verbatim, err, out)
		}
	}
	return nil
}

// stopServers stops them all at the same time.
func stopServers(sites []*site) error {
	errs := make([]error, len(sites))
	var wg sync.WaitGroup
	for i, s := range sites {
		if s.server != nil {
			wg.Go(func() { errs[i] = s.server.Stop() })
		}
	}
	wg.Wait()
	return errors.Join(errs...)
}

// finished waits until the one track of a meeting is done.
func finished(ctx context.Context, s *harness.Server, id string) (t meeting.Track, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("the track does not end"))
	defer cancel()
	for {
		var m meeting.Meeting
		if err := s.Client.Get(ctx, "/v1/meetings/"+id, &m); err != nil {
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
		if err := harness.Sleep(ctx, 100*time.Millisecond); err != nil {
			return t, err
		}
	}
}

// download keeps the PCM of a track.
func download(ctx context.Context, s *harness.Server, meetingID, track, file string) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return s.Download(ctx, "/v1/meetings/"+meetingID+"/tracks/"+track+"/audio.wav", f)
}
