package media

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"

	"verbatim/internal/speech"
	"verbatim/media/audio"
	"verbatim/signaling/whipclient"
)

// playAll sends the sentence and returns what the server made of it.
func playAll(t *testing.T, w *world) []audio.Packet {
	t.Helper()
	conn := w.connect()
	if _, err := conn.Play(t.Context(), whipclient.ReadOgg(bytes.NewReader(speech.Opus("sas-0870")))); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second) // as publish does: it leaves when all has been taken in
	w.engine.CloseSession("session", audio.ReasonLeft)
	<-w.log.closed
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	w.stop()
	checkLog(t, w.log.packets)
	return w.log.packets
}

// What the network loses is asked for again, and the PCM is that of the sender's
// packets as if nothing had been lost.
func TestLossIsRecovered(t *testing.T) {
	for _, c := range []struct {
		loss float64
		rtt  time.Duration
	}{{0.05, 2 * time.Millisecond}, {0.10, 20 * time.Millisecond}, {0.10, 100 * time.Millisecond}, {0.20, 100 * time.Millisecond}} {
		t.Run(fmt.Sprintf("%.0f%% and %v", 100*c.loss, c.rtt), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := rand.New(rand.NewPCG(4, 2))
				lost := 0
				w := newWorld(t, func(i int) (int, time.Duration) {
					// Not the very first, of which nothing tells.
					if i > 3 && r.Float64() < c.loss {
						lost++
						return 0, 0
					}
					return 1, 0
				}, c.rtt/2)
				var report rtcp.ReceptionReport
				w.report = func(b rtcp.ReceptionReport) { report = b }
				got, want := playAll(t, w), sentPackets(t)
				if report.TotalLost > 2 { // what is still on its way
					t.Errorf("the sender is told that %d packets are lost, all came again", report.TotalLost)
				}
				if lost < 5 {
					t.Fatalf("only %d packets were lost", lost)
				}
				checkExact(t, got, want)
				recovered := 0
				for _, p := range got {
					if p.Origin == audio.Retransmission {
						recovered++
					}
					if p.Kind == audio.Lost {
						t.Errorf("at tick %d %d ticks stayed lost", p.Start, p.Samples)
					}
				}
				// RTCP is among what is lost, and what is lost twice counts once.
				if recovered < 5 || recovered > lost {
					t.Errorf("%d packets count as recovered, %d were lost", recovered, lost)
				}
			})
		})
	}
}

// Packets that only overtook each other count as received, not as recovered,
// and those who are not late wait for nobody.
func TestReorderingIsNotRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(i int) (int, time.Duration) {
			if i%5 == 3 {
				return 1, 70 * time.Millisecond // behind the next one
			}
			return 1, 0
		}, 50*time.Millisecond)
		got, want := playAll(t, w), sentPackets(t)
		checkExact(t, got, want)
		for _, p := range got {
			if p.Origin != audio.Wire {
				t.Fatalf("the packet at tick %d counts as %v", p.Start, p.Origin)
			}
		}
	})
}

// The receiver reports tell a sender of what stays lost.
func TestReportsTellOfLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(int) (int, time.Duration) { return 1, 10 * time.Millisecond }, 10*time.Millisecond)
		w.client.lose = func(seq uint16) bool { return seq%4 == 3 }
		var reports []rtcp.ReceptionReport
		w.report = func(b rtcp.ReceptionReport) { reports = append(reports, b) }
		conn := w.connect()
		if _, err := conn.Play(t.Context(), whipclient.ReadOgg(bytes.NewReader(speech.Opus("sas-0870")))); err != nil {
			t.Fatal(err)
		}
		w.engine.CloseSession("session", audio.ReasonLeft)
		<-w.log.closed
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		w.stop()
		if len(reports) < 5 {
			t.Fatalf("%d reports in 7 s", len(reports))
		}
		last := reports[len(reports)-1]
		if share := float64(last.FractionLost) / 256; share < 0.15 || share > 0.35 {
			t.Errorf("the last report tells of %.0f %% loss, it was 25 %%", 100*share)
		}
		if last.LastSenderReport == 0 {
			t.Error("the last report names no sender report")
		}
	})
}

// What still waits to be read of a stream when the client changes its SSRC is
// taken in before what comes on the new one.
func TestRestOfAStreamBeforeTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.log.stall = func(ps []audio.Packet) {
			if ps[0].Seq == 0 {
				time.Sleep(time.Second)
			}
		}
		r := &renumber{}
		w.interceptors = &interceptor.Registry{}
		w.interceptors.Add(r)
		conn := w.connect()
		packets := sentPackets(t)[:12]
		for i, p := range packets {
			r.ssrc.Store(uint32(1000 + i/6))
			if err := conn.Send(p.Payload, p.Samples); err != nil {
				t.Fatal(err)
			}
			time.Sleep(60 * time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		w.engine.CloseSession("session", audio.ReasonLeft)
		<-w.log.closed
		_ = conn.Close()
		w.stop()
		n := 0
		for _, p := range w.log.packets {
			if p.Kind != audio.Coded {
				continue
			}
			if n >= len(packets) || !bytes.Equal(p.Payload, packets[n].Payload) {
				t.Fatalf("coded packet %d is not what was sent", n)
			}
			n++
		}
		if n != len(packets) {
			t.Errorf("%d packets were taken in of %d", n, len(packets))
		}
	})
}

// What has arrived in time is not given up because it waits to be read: the
// machine was busy, not the network slow.
func TestStallsLoseNothing(t *testing.T) {
	for _, c := range []struct {
		name        string
		stall, ends uint64 // the Seq in whose Append that happens
	}{
		{"while something is missing", 20, 355},
		{"at the end", 303, 300},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var seq uint16
				sent := map[uint16]int{}
				w := newWorld(t, func(int) (int, time.Duration) {
					mu.Lock()
					defer mu.Unlock()
					switch seq - 65500 {
					case 20:
						return 1, 250 * time.Millisecond
					case 23: // is missed when 20 comes
						return 1, 350 * time.Millisecond
					}
					return 1, 0
				})
				w.client.lose = func(s uint16) bool { // nothing is sent again
					mu.Lock()
					defer mu.Unlock()
					sent[s]++
					seq = s
					return sent[s] > 1
				}
				stalls := 0
				w.log.stall = func(ps []audio.Packet) {
					switch ps[0].Seq {
					case c.ends:
						w.engine.CloseSession("session", audio.ReasonLeft)
					case c.stall:
						stalls++
						time.Sleep(1200 * time.Millisecond)
					}
				}
				conn := w.connect()
				if _, err := conn.Play(t.Context(), whipclient.ReadOgg(bytes.NewReader(speech.Opus("sas-0870")))); err != nil {
					t.Fatal(err)
				}
				<-w.log.closed
				if err := conn.Close(); err != nil {
					t.Error(err)
				}
				w.stop()
				got, want := w.log.packets, sentPackets(t)
				if !slices.Equal(decodeAll(got), decodeAll(want)) || stalls != 1 {
					t.Errorf("%d stalls, %d packets sent, %d came: %s", stalls, len(want), len(got), describe(slices.DeleteFunc(got, func(p audio.Packet) bool { return p.Kind == audio.Coded })))
				}
			})
		})
	}
}
