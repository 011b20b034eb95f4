//go:build attack

package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"verbatim/media/audio"
	"verbatim/media/codec"
	"verbatim/pipeline/meeting"
	"verbatim/signaling/whipclient"
)

// TestAttack sends a million mutated packets at the real program while one
// participant speaks. They cost time, and nothing else.
func TestAttack(t *testing.T) {
	v := newVictim(t, "none:", "--linger", "1s")
	ctx, hangUp := context.WithCancel(t.Context())
	heard := v.speak(ctx, "honest")
	v.join("warm-up", nil).leave()
	time.Sleep(2 * time.Second)
	v.base = v.status("VmRSS")
	stop := v.watch()

	fmt.Printf("%-38s %9s %9s %8s %8s %8s %8s\n", "", "sent", "read", "seconds", "RSS MB", "most MB", "threads")
	v.phase("one participant", func() int { return 0 })
	sent := v.phase("strangers: noise, STUN, DTLS, SRTP", func() int { return v.strangers(500_000) })
	sent += v.phase("ICE checks from ever new addresses", func() int { return v.checks(100_000) })
	sent += v.phase("RTP, RTCP, RED, Opus in sessions", func() int { return v.hostile(400_000) })
	if sent < 1_000_000 {
		t.Errorf("%d packets were sent", sent)
	}
	hangUp()
	said := <-heard
	for slices.ContainsFunc(v.meetings(), func(m meeting.Meeting) bool { return m.State == meeting.StateLive }) {
		time.Sleep(100 * time.Millisecond)
	}
	// Too fast for the system's buffers: whoever speaks meanwhile loses words.
	v.phase("a flood from within a session", v.flood)
	v.phase("afterwards", func() int { return 0 })
	stop()
	if grown := (v.most.Load() - v.base) >> 10; grown > 64 {
		t.Errorf("memory grew by %d MB", grown)
	}
	v.checkAccounts(said)
	v.checkEnd(30)
}

// victim is the server under attack, with honest participants in it.
type victim struct {
	*process
	stderr  *os.File
	pass    func(room string) string // gives a token for a room; nil for none
	port    netip.AddrPort           // of its media
	answer  string                   // to the first honest participant
	dropped int64                    // datagrams that the system dropped before the server read them, so far

	base int64        // KiB of resident memory before the attack
	most atomic.Int64 // and the most while it lasts
}

func newVictim(t *testing.T, recognizer string, flags ...string) *victim {
	stderr, err := os.CreateTemp(t.TempDir(), "stderr")
	if err != nil {
		t.Fatal(err)
	}
	return &victim{process: serveTo(t, stderr, t.TempDir(), recognizer, flags...), stderr: stderr}
}

// speak is an honest participant in a room, until ctx ends: a sentence again and
// again. What it sent comes as it has to be heard.
func (v *victim) speak(ctx context.Context, room string) <-chan []int16 {
	conn, err := whipclient.Connect(v.t.Context(), whipclient.Options{}, v.post(room, func(_, answer string) { v.answer = cmp.Or(v.answer, answer) }))
	if err != nil {
		v.t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^a=candidate:\S+ 1 udp \d+ (\S+) (\d+) `).FindStringSubmatch(v.answer)
	if m == nil {
		v.t.Fatalf("the answer has no candidate: %s", v.answer)
	}
	v.port = netip.MustParseAddrPort(m[1] + ":" + m[2])
	heard := make(chan []int16, 1)
	go func() {
		d := codec.NewDecoder()
		var pcm []int16
		start := time.Now()
		for i := 0; ctx.Err() == nil; i++ {
			time.Sleep(time.Until(start.Add(time.Duration(i) * 20 * time.Millisecond)))
			p := sound[i%len(sound)]
			if err := conn.Send(p, 20*ms); err != nil {
				v.t.Error(err)
			}
			pcm = append(pcm, make([]int16, 320)...)
			d.Decode(audio.FormatOpus, p, pcm[len(pcm)-320:])
		}
		time.Sleep(time.Second)
		if err := conn.Close(); err != nil {
			v.t.Error(err)
		}
		heard <- pcm
	}()
	return heard
}

// post takes an offer to the server, and tells of it and its answer.
func (v *victim) post(room string, tell func(offer, answer string)) whipclient.Exchange {
	return func(ctx context.Context, offer string) (string, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, v.url+"/v1/rooms/"+room+"/whip", strings.NewReader(offer))
		if err != nil {
			return "", err
		}
		req.Header.Set("Content-Type", "application/sdp")
		if v.pass != nil {
			req.Header.Set("Authorization", "Bearer "+v.pass(room))
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusCreated {
			return "", fmt.Errorf("%s: %s (%w)", resp.Status, b, err)
		}
		if tell != nil {
			tell(offer, string(b))
		}
		return string(b), nil
	}
}

// phase runs a part of the attack and shows what it did to the server.
func (v *victim) phase(name string, attack func() (sent int)) int {
	begin := time.Now()
	sent := attack()
	took := time.Since(begin).Seconds()
	time.Sleep(200 * time.Millisecond)
	select {
	case <-v.out:
		log, _ := os.ReadFile(v.stderr.Name())
		v.t.Fatalf("the server is gone: %s", log)
	default:
	}
	_, dropped := v.socket()
	fmt.Printf("%-38s %9d %9d %8.1f %8.1f %8.1f %8d\n", name, sent, int64(sent)-(dropped-v.dropped), took,
		float64(v.status("VmRSS"))/1024, float64(v.most.Load())/1024, v.status("Threads"))
	v.dropped = dropped
	return sent
}

// status is a number of /proc/PID/status.
func (v *victim) status(key string) int64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", v.cmd.Process.Pid))
	m := regexp.MustCompile(`(?m)^` + key + `:\s+(\d+)`).FindSubmatch(b)
	if m == nil {
		return 0 // it is gone, which others notice
	}
	n, _ := strconv.ParseInt(string(m[1]), 10, 64)
	return n
}

// socket is how many bytes wait in the media port, and how many datagrams it has
// dropped.
func (v *victim) socket() (waiting, dropped int64) {
	b, err := os.ReadFile("/proc/net/udp")
	if err != nil {
		v.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 13 || !strings.HasSuffix(f[1], fmt.Sprintf(":%04X", v.port.Port())) {
			continue
		}
		_, queue, _ := strings.Cut(f[4], ":")
		waiting, _ = strconv.ParseInt(queue, 16, 64)
		dropped, _ = strconv.ParseInt(f[12], 10, 64)
	}
	return waiting, dropped
}

// pace waits until the server has read most of what was sent: a million packets
// shall be read, not be dropped by the system.
func (v *victim) pace() {
	for waiting, _ := v.socket(); waiting > 50_000; waiting, _ = v.socket() {
		time.Sleep(time.Millisecond)
	}
}

// watch keeps the most memory that there was, until stop is called.
func (v *victim) watch() (stop func()) {
	ctx, cancel := context.WithCancel(v.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			v.most.Store(max(v.most.Load(), v.status("VmRSS")))
			time.Sleep(20 * time.Millisecond)
		}
	})
	return func() { cancel(); wg.Wait() }
}

// checkAccounts checks that the honest participant was heard to the sample, and
// that the tracks of the attackers add up and can be decoded.
func (v *victim) checkAccounts(said []int16) {
	var tracks int
	var all meeting.Coverage
	cursor := ""
	for {
		ms, next := v.page(cursor)
		for _, m := range ms {
			checkCoverage(v.t, m.Coverage)
			for i, track := range m.Tracks {
				checkCoverage(v.t, track.Coverage)
				pcm := v.wav(m, i)
				if m.Room != "honest" {
					tracks++
					all = all.Plus(track.Coverage)
					if n := int64(len(pcm)) / 16; n != track.Coverage.DurationMS {
						v.t.Errorf("a track of %d ms has %d ms of audio", track.Coverage.DurationMS, n)
					}
					continue
				}
				v.checkHeard(track.Coverage, pcm, said)
			}
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	if tracks < 10 {
		v.t.Errorf("%d tracks of attackers: they did not get in", tracks)
	}
	fmt.Printf("the attackers: %d tracks, %+v\n", tracks, all)
}

// checkHeard checks that an honest participant was heard to the sample.
func (v *victim) checkHeard(c meeting.Coverage, pcm, said []int16) {
	if c.ConcealedMS+c.SilenceMS+c.DiscontinuityMS+c.ShedMS > 0 {
		v.t.Errorf("an honest participant was heard with gaps: %+v", c)
	}
	if !slices.Equal(pcm, said) {
		v.t.Errorf("an honest participant said %d samples, and %d others were heard", len(said), len(pcm))
		return
	}
	fmt.Printf("an honest participant: %d ms received, %d ms recovered, %d ms concealed; bit-exact\n", c.ReceivedMS, c.RecoveredMS, c.ConcealedMS)
}

// checkEnd makes the server tell of its goroutines: nothing of the attack is
// left.
func (v *victim) checkEnd(most int) {
	if err := v.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		v.t.Fatal(err)
	}
	<-v.out
	_ = v.cmd.Wait() // the signal's exit code
	log, err := os.ReadFile(v.stderr.Name())
	if err != nil {
		v.t.Fatal(err)
	}
	before, dump, found := bytes.Cut(log, []byte("SIGQUIT"))
	if !found || bytes.Contains(before, []byte("panic")) {
		v.t.Errorf("it panicked: %s", log)
	}
	n := bytes.Count(dump, []byte("\ngoroutine "))
	fmt.Printf("%d goroutines are left\n", n)
	if n > most {
		v.t.Errorf("%d goroutines are left: %s", n, dump)
	}
}
