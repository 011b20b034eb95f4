package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// However many pages are shown, the database is asked now and then.
func TestOriginsAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		origins := remembered(originsFor, func(context.Context) []string {
			asked++
			return []string{"https://node1.example"}
		})
		for range 100 {
			if got := origins(t.Context()); len(got) != 1 {
				t.Errorf("%v", got)
			}
			time.Sleep(originsFor / 10)
		}
		if asked != 10 {
			t.Errorf("it was asked %d times in %v", asked, 10*originsFor)
		}
	})
}
