//go:build attack

package main

import ("testing";"context";"fmt";"math/rand/v2";"time";"sync")

func TestZZ(t *testing.T) {
	v := newVictim(t)
	ctx, hangUp := context.WithCancel(t.Context())
	heard := v.speak(ctx)
	v.join("warm-up", nil).leave()
	time.Sleep(2 * time.Second)
	v.base = v.status("VmRSS")
	stop := v.watch()
	for _, kind := range []string{"valid", "wrongpw", "garbage"} {
	v.phase("flood "+kind, func() int {
		var offer, answer string
		p := v.join("moves", func(o, a string) { offer, answer = o, a })
		defer p.leave()
		user := sdpValue(answer, "ice-ufrag") + ":" + sdpValue(offer, "ice-ufrag")
		var wg sync.WaitGroup
		n := 0
		var mu sync.Mutex
		for i := range 2 { wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			c := v.dial(i)
			pw := sdpValue(answer, "ice-pwd")
			b := stunCheck(r, user, pw)
			c.Write(b); time.Sleep(100*time.Millisecond)
			if kind == "wrongpw" { b = stunCheck(r, user, "foo") }
			if kind == "garbage" { b = noise(r, 1000); b[0]=0x80 }
			start := time.Now(); k := 0
			for time.Since(start) < 5*time.Second { for range 100 { c.Write(b); k++ } }
			c.Close()
			mu.Lock(); n += k; mu.Unlock()
		}) }
		wg.Wait()
		return n
	})
	}
	hangUp()
	<-heard
	time.Sleep(3*time.Second)
	v.phase("afterwards", func() int { return 0 })
	stop()
	fmt.Println("dropped", v.dropped)
}
