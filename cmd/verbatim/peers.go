package main

import (
	"context"
	"net/url"
	"strings"
	"sync"
	"time"

	"verbatim/pipeline/store"
)

// peersEvery is how old may be what pages are told of the nodes: anybody may ask for
// them, as often as they like.
const peersEvery = 5 * time.Second

// peerOrigins are the origins of the nodes of a database, which a page may speak to;
// nil if there is only one node. A database that does not answer has none.
func peerOrigins(db *store.Store) func(context.Context) []string {
	if !db.Shared() {
		return nil
	}
	var mu sync.Mutex // guards what follows
	var origins []string
	var at time.Time
	return func(ctx context.Context) []string {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(at) < peersEvery {
			return origins
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		nodes, err := db.Nodes(ctx)
		at, origins = time.Now(), nil
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
	}
}
