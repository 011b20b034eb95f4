package netem

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// mtu of the TUN devices.
const mtu = 1500

// Emulator carries packets between two devices. UDP to and from the address of
// a Path meets that path's conditions; all else, such as the TCP of HTTP, passes
// at once and unharmed.
type Emulator struct {
	client, server io.ReadWriteCloser
	paths          map[netip.Addr]*Path
	up, down       *direction
}

// Path is what lies between the client and one address of the server.
type Path struct {
	up, down *Link

	mu    sync.Mutex // guards trace
	trace []RTP
}

// NewPath makes a path; the same seed makes the same one.
func NewPath(c Conditions, seed uint64) *Path {
	return &Path{up: NewLink(c, seed), down: NewLink(c, seed)}
}

// Trace is every RTP packet that the client sent on the path so far.
func (p *Path) Trace() []RTP {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.trace)
}

// NewEmulator joins the client's device to the server's. Run starts it.
func NewEmulator(client, server io.ReadWriteCloser, paths map[netip.Addr]*Path) *Emulator {
	return &Emulator{client: client, server: server, paths: paths, up: newDirection(), down: newDirection()}
}

// Run carries packets until ctx ends, and closes the devices.
func (e *Emulator) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, f := range []func() error{
		func() error { return e.read(e.client, e.upward) },
		func() error { return e.read(e.server, e.downward) },
		func() error { return e.up.deliver(ctx, e.server) },
		func() error { return e.down.deliver(ctx, e.client) },
	} {
		wg.Go(func() { cancel(f()) })
	}
	<-ctx.Done()
	err := errors.Join(e.client.Close(), e.server.Close())
	wg.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		err = errors.Join(cause, err)
	}
	return err
}

func (e *Emulator) read(from io.Reader, carry func(now time.Time, packet []byte)) error {
	var buf [mtu]byte
	for {
		n, err := from.Read(buf[:])
		if err != nil {
			return fmt.Errorf("read from a device: %w", err)
		}
		carry(time.Now(), slices.Clone(buf[:n]))
	}
}

func (e *Emulator) upward(now time.Time, packet []byte) {
	p, payload := e.path(packet, 16) // of the destination
	if p == nil {
		e.up.push(now, packet)
		return
	}
	delay, lost := p.up.Up()
	if r, ok := parseRTP(payload); ok {
		r.Sent, r.Due, r.Lost = now, now.Add(delay), lost
		p.mu.Lock()
		p.trace = append(p.trace, r)
		p.mu.Unlock()
	}
	if !lost {
		e.up.push(now.Add(delay), packet)
	}
}

func (e *Emulator) downward(now time.Time, packet []byte) {
	if p, _ := e.path(packet, 12); p != nil { // of the source
		now = now.Add(p.down.Down())
	}
	e.down.push(now, packet)
}

// path is where a UDP packet belongs by the address at that offset of its IP
// header.
func (e *Emulator) path(packet []byte, address int) (p *Path, payload []byte) {
	const udp = 17
	if len(packet) < 20 || packet[0]>>4 != 4 || packet[9] != udp {
		return nil, nil
	}
	payload = packet[min(len(packet), int(packet[0]&15)*4+8):]
	return e.paths[netip.AddrFrom4([4]byte(packet[address:]))], payload
}

// Lateness is how much later than it should have each packet went up, sorted:
// how far this machine can be trusted.
func (e *Emulator) Lateness() []time.Duration {
	e.up.mu.Lock()
	defer e.up.mu.Unlock()
	late := slices.Clone(e.up.late)
	slices.Sort(late)
	return late
}

// Dropped is how many packets found no room.
func (e *Emulator) Dropped() uint64 {
	e.up.mu.Lock()
	defer e.up.mu.Unlock()
	e.down.mu.Lock()
	defer e.down.mu.Unlock()
	return e.up.queue.dropped + e.down.queue.dropped
}

// direction delivers packets when they are due.
type direction struct {
	wake chan struct{} // something is due earlier than was known

	mu    sync.Mutex // guards what follows
	queue queue
	late  []time.Duration
}

func newDirection() *direction { return &direction{wake: make(chan struct{}, 1)} }

func (d *direction) push(at time.Time, packet []byte) {
	d.mu.Lock()
	d.queue.push(at, packet)
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default: // it will look anyway
	}
}

func (d *direction) pop() (packet []byte, wait time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	p, next := d.queue.pop(now)
	switch {
	case p.bytes != nil:
		d.late = append(d.late, now.Sub(p.at))
		return p.bytes, 0
	case next.IsZero():
		return nil, time.Hour
	}
	return nil, next.Sub(now)
}

func (d *direction) deliver(ctx context.Context, to io.Writer) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		packet, wait := d.pop()
		if packet != nil {
			if _, err := to.Write(packet); err != nil {
				return fmt.Errorf("write to a device: %w", err)
			}
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-d.wake:
		case <-ctx.Done():
			return nil
		}
	}
}
