package main

import (
	"context"
	"net/url"
	"strings"
	"sync"
	"time"

	"verbatim/pipeline/store"
)

// peerOrigins are the origins of the nodes of a database, which a page may speak to
// and play audio from; nil if there is only one. A database that does not answer has none.
func peerOrigins(db *store.Store) func(context.Context) []string {
	if !db.Shared() {
		return nil
	}
	return remembered(originsFor, func(ctx context.Context) (origins []string) {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		nodes, err := db.Nodes(ctx)
		if err != nil {
			return nil
		}
		for _, n := range nodes {
			u, err := url.Parse(n.URL)
			if err == nil && n.Alive && u.Host != "" && !strings.ContainsAny(u.Host, " ;,'\"") {
				origins = append(origins, u.Scheme+"://"+u.Host)
			}
		}
		return origins
	})
}

// originsFor is how long what the database says is said again: every page of a meeting
// is shown with it, to anybody, and no limit counts pages.
const originsFor = 5 * time.Second

// remembered asks f at most once in that time.
func remembered(d time.Duration, f func(context.Context) []string) func(context.Context) []string {
	var mu sync.Mutex // guards what follows; held while f is asked
	var at time.Time
	var last []string
	return func(ctx context.Context) []string {
		mu.Lock()
		defer mu.Unlock()
		if at.IsZero() || time.Since(at) >= d {
			last, at = f(context.WithoutCancel(ctx)), time.Now()
		}
		return last
	}
}
