package clock

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestStart(t *testing.T) {
	for _, c := range []struct {
		name         string
		wall, latest time.Duration // from now
		want, behind time.Duration
	}{
		{"nothing stored", 0, -1 << 62, 0, 0},
		{"stored before", 0, -time.Hour, 0, 0},
		{"set back by an hour", -time.Hour, -time.Second, -time.Second, time.Hour - time.Second},
		{"an hour fast", time.Hour, 0, time.Hour, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				now, behind := Start(began.Add(c.wall), began.Add(c.latest))
				for range 3 {
					if got, want := now(), time.Now().Add(c.want); !got.Equal(want) || behind != c.behind {
						t.Errorf("it shows %v, want %v; behind by %v, want %v", got, want, behind, c.behind)
					}
					time.Sleep(time.Minute)
				}
			})
		})
	}
	now, _ := Start(time.Now(), time.Time{})
	if at := now(); at != at.Round(0) {
		t.Error("its times hold a monotonic reading, which nothing but time.Now can be compared by")
	}
}
