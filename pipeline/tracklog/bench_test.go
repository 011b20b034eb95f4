package tracklog

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"verbatim/media/audio"
)

// A packet of the benchmarks is what browsers send: 60 ms of Opus at 24 kbit/s.
const (
	benchPayload = 180
	benchTicks   = 2880
)

// fill appends n packets and writes them.
func fill(b *testing.B, s *Store, track string, n int) *Log {
	b.Helper()
	l := must(s.Create("m", track))
	var tx sender
	payload := make([]byte, benchPayload)
	for range n {
		appendAll(b, l, tx.packet(audio.Coded, benchTicks, payload))
	}
	s.flush(true)
	return l
}

func BenchmarkAppend(b *testing.B) {
	s := newStore(b, Options{SyncEvery: -1})
	l := must(s.Create("m", "t"))
	defer closeLog(b, l)
	var tx sender
	p := tx.packet(audio.Coded, benchTicks, make([]byte, benchPayload))
	ctx := context.Background()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := l.Append(ctx, p); err != nil {
			b.Fatal(err)
		}
		p.Seq, p.Start = p.Seq+1, p.Next()
		if i%10000 == 9999 { // with its share of writing
			s.flush(false)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	for _, c := range []struct {
		name string
		tail time.Duration
	}{{"memory", time.Hour}, {"file", 1}} {
		b.Run(c.name, func(b *testing.B) {
			const packets = 100000
			s := newStore(b, Options{SyncEvery: -1, Tail: c.tail})
			l := fill(b, s, "t", packets)
			defer closeLog(b, l)
			b.ReportAllocs()
			b.ResetTimer()
			for left := b.N; left > 0; left -= packets {
				want := min(left, packets)
				n := 0
				for _, err := range l.Read(context.Background(), 0) {
					if err != nil {
						b.Fatal(err)
					}
					if n++; n == want {
						break
					}
				}
			}
		})
	}
}

// BenchmarkTail is the way of one packet from the writer to readers that wait
// for it, and the news of that back.
func BenchmarkTail(b *testing.B) {
	for _, readers := range []int{1, 3} {
		b.Run(fmt.Sprint(readers), func(b *testing.B) {
			s := newStore(b, Options{SyncEvery: -1})
			l := must(s.Create("m", "t"))
			defer closeLog(b, l)
			ctx, cancel := context.WithCancel(context.Background())
			got := make(chan struct{}, readers)
			var wg sync.WaitGroup
			for range readers {
				wg.Go(func() {
					for _, err := range l.Read(ctx, 0) {
						if err == nil {
							got <- struct{}{}
						}
					}
				})
			}
			var tx sender
			p := tx.packet(audio.Coded, benchTicks, make([]byte, benchPayload))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := l.Append(ctx, p); err != nil {
					b.Fatal(err)
				}
				p.Seq, p.Start = p.Seq+1, p.Next()
				for range readers {
					<-got
				}
				if i%10000 == 9999 {
					s.flush(false)
				}
			}
			cancel()
			wg.Wait()
		})
	}
}

// BenchmarkOpen opens a log of three hours.
func BenchmarkOpen(b *testing.B) {
	s := newStore(b, Options{SyncEvery: -1})
	l := fill(b, s, "t", 3*3600*1000/60)
	b.SetBytes(l.size)
	closeLog(b, l)
	b.ReportAllocs()
	for b.Loop() {
		closeLog(b, must(s.Open("m", "t")))
	}
}

// BenchmarkFlush is one round of the flusher over 1,000 live tracks that have
// two packets each to write: a packet is 60 ms, and a round comes every 100 ms.
func BenchmarkFlush(b *testing.B) {
	for _, sync := range []bool{false, true} {
		b.Run(fmt.Sprintf("sync=%v", sync), func(b *testing.B) {
			const tracks = 1000
			s := newStore(b, Options{})
			var logs [tracks]*Log
			var tx [tracks]sender
			for i := range logs {
				logs[i] = must(s.Create("m", fmt.Sprint(i)))
			}
			for b.Loop() {
				b.StopTimer()
				for i, l := range logs {
					appendAll(b, l, tx[i].coded(2, benchPayload)...)
				}
				b.StartTimer()
				if s.flush(sync) > 0 {
					b.Fatal("flush failed")
				}
			}
			for _, l := range logs {
				closeLog(b, l)
			}
		})
	}
}
