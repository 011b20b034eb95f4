package main

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"verbatim/internal/speech"
	"verbatim/signaling/whipclient"
)

// BenchmarkJoin is a whole session of the real server: offer and answer, ICE,
// DTLS, the first packet, which begins the track, and leaving. Ten participants
// are in a room, and eight clients for each processor are on their way; they take CPU as
// well, cpu-ms/join is the server's alone.
func BenchmarkJoin(b *testing.B) {
	quiet, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer quiet.Close()
	s := serveTo(b, quiet, b.TempDir(), "none:")
	client := whipclient.Client{URL: s.url}
	packet := speech.Packets("sas-0880-60ms")[0]
	before := s.scrape()["process_cpu_seconds_total"]
	var joined atomic.Int64
	join := func() error {
		i := joined.Add(1)
		c, err := client.Join(b.Context(), fmt.Sprintf("r%d", i/10), fmt.Sprintf("p%d", i%10), "", whipclient.Options{})
		if err != nil {
			return err
		}
		return errors.Join(c.Send(packet, 2880), c.Leave(b.Context()))
	}
	b.SetParallelism(8)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := join(); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "joins/s")
	for s.scrape()["verbatim_sessions{via=whip}"] > 0 { // what came late is still taken in
		time.Sleep(10 * time.Millisecond)
	}
	used := s.scrape()["process_cpu_seconds_total"] - before
	b.ReportMetric(1000*used/float64(b.N), "cpu-ms/join")
}
