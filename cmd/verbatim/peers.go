package main

import (
	"context"
	"net/url"
	"strings"
	"time"

	"verbatim/pipeline/store"
)

// peerOrigins are the origins of the nodes of a database, from which a page may play
// audio; nil if there is only one node. A database that does not answer has none.
func peerOrigins(db *store.Store) func(context.Context) []string {
	if !db.Shared() {
		return nil
	}
	return func(ctx context.Context) (origins []string) {
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
	}
}
