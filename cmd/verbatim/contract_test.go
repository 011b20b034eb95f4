package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"verbatim/internal/contract"
)

// held is a client that holds every answer against the document that the server
// serves.
type held struct {
	t   *testing.T
	s   *process
	doc *contract.Document
}

func (s *process) held(t *testing.T) *held {
	t.Helper()
	doc, err := contract.Parse(s.get("/openapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return &held{t: t, s: s, doc: doc}
}

// RoundTrip implements http.RoundTripper. Bodies are read to their end, but for
// those that have none: event streams, WebSockets.
func (h *held) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	var body []byte
	endless := resp.StatusCode == http.StatusSwitchingProtocols || resp.Header.Get("Content-Type") == "text/event-stream"
	if !endless {
		body, err = io.ReadAll(resp.Body)
		resp.Body.Close()
		resp.Body = io.NopCloser(bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
	}
	if err := h.doc.Check(r, resp.StatusCode, resp.Header, body); err != nil {
		h.t.Error(err)
	}
	return resp, nil
}

// do asks for an answer of that status, of which it gives the head and the body.
// Headers are name and value by turns.
func (h *held) do(status int, method, path, body string, headers ...string) (http.Header, string) {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), method, h.s.url+strings.TrimPrefix(path, h.s.url), strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	for pair := range slices.Chunk(headers, 2) {
		req.Header.Set(pair[0], pair[1])
	}
	resp, err := (&http.Client{Transport: h}).Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	if resp.StatusCode != status {
		h.t.Errorf("%s %s: %d, want %d: %.300s", method, path, resp.StatusCode, status, b)
	}
	return resp.Header, string(b)
}

func (h *held) get(paths ...string) {
	h.t.Helper()
	for _, path := range paths {
		h.do(http.StatusOK, http.MethodGet, path, "")
		h.do(http.StatusOK, http.MethodHead, path, "")
	}
}

// watch checks the events of a room until ctx ends.
func (h *held) watch(ctx context.Context, room string) {
	resp, err := (&http.Client{Transport: h}).Get(h.s.url + "/v1/rooms/" + room + "/events") // for its head
	if err != nil {
		h.t.Error(err)
		return
	}
	resp.Body.Close()
	h.s.watch(ctx, room, "", func(e seen) {
		if e.kind == "" {
			return // it keeps the connection open
		}
		if err := h.doc.CheckEvent(e.kind, string(e.data)); err != nil {
			h.t.Error(err)
		}
	})
}
