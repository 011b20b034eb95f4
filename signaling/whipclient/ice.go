package whipclient

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"
)

func (c *Conn) transport() *webrtc.ICETransport {
	return c.pc.GetSenders()[0].Transport().ICETransport()
}

// trickle sends all candidates in one fragment, as RFC 9725, 4.3.2, recommends.
func (c *Conn) trickle(ctx context.Context) error {
	if err := c.gathered(ctx); err != nil {
		return err
	}
	fragment, err := fragment(c.pc.LocalDescription().SDP)
	if err != nil {
		return err
	}
	if _, err := c.patch(ctx, fragment, false); err != nil {
		return fmt.Errorf("send candidates: %w", err)
	}
	return nil
}

// Restart begins a new ICE session for the same media, as after a change of
// network, and returns when it is connected. What is sent meanwhile arrives
// after that. After an error the connection is of no use, unless another Restart
// succeeds.
func (c *Conn) Restart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	c.mu.Lock()
	c.holding = true
	c.mu.Unlock()
	offer, err := c.pc.CreateOffer(&webrtc.OfferOptions{ICERestart: true})
	if err != nil {
		return fmt.Errorf("restart ICE: %w", err)
	}
	if err := c.gather(ctx, offer); err != nil {
		return fmt.Errorf("restart ICE: %w", err)
	}
	ask, err := fragment(c.pc.LocalDescription().SDP)
	if err != nil {
		return fmt.Errorf("restart ICE: %w", err)
	}
	said, err := c.patch(ctx, ask, true)
	if err != nil {
		return fmt.Errorf("restart ICE: %w", err)
	}
	if c.answer, err = withICE(c.answer, said); err != nil {
		return fmt.Errorf("restart ICE: %w", err)
	}
	if err := c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: c.answer}); err != nil {
		return fmt.Errorf("restart ICE: %w", err)
	}
	for { // an element may be from the ICE session before
		if pair, err := c.transport().GetSelectedCandidatePair(); err == nil && pair != nil {
			return c.release()
		}
		select {
		case <-c.selected:
		case <-c.lost:
			return ErrLost
		case <-ctx.Done():
			return fmt.Errorf("restart ICE: %w", ctx.Err())
		}
	}
}

// release sends what was held, in order.
func (c *Conn) release() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.held {
		if err := c.write(&c.held[i]); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
	c.holding, c.held = false, nil
	return nil
}

// fragment is what a description says about ICE (RFC 8840, 9).
func fragment(description string) (string, error) {
	var d sdp.SessionDescription
	if err := d.UnmarshalString(description); err != nil {
		return "", err
	}
	m := d.MediaDescriptions[0]
	var b strings.Builder
	fmt.Fprintf(&b, "m=%s\r\n", m.MediaName.String())
	for _, a := range m.Attributes {
		switch a.Key {
		case "mid", "ice-ufrag", "ice-pwd", "candidate":
			fmt.Fprintf(&b, "a=%s:%s\r\n", a.Key, a.Value)
		}
	}
	b.WriteString("a=end-of-candidates\r\n")
	return b.String(), nil
}

// withICE is an answer with the credentials and candidates of a fragment in
// place of its own.
func withICE(answer, fragment string) (string, error) {
	var d sdp.SessionDescription
	if err := d.UnmarshalString(answer); err != nil {
		return "", err
	}
	m := d.MediaDescriptions[0]
	keep := func(from []sdp.Attribute) (to []sdp.Attribute) {
		for _, a := range from {
			if !isICE(a.Key) {
				to = append(to, a)
			}
		}
		return to
	}
	d.Attributes, m.Attributes = keep(d.Attributes), keep(m.Attributes)
	found := 0
	for line := range strings.Lines(fragment) {
		key, value, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "a="), ":")
		switch {
		case !isICE(key):
			continue
		case strings.HasPrefix(key, "ice-"):
			found++
		}
		m.Attributes = append(m.Attributes, sdp.Attribute{Key: key, Value: value})
	}
	if found != 2 {
		return "", errors.New("the server's answer has no ICE credentials")
	}
	b, err := d.Marshal()
	return string(b), err
}

func isICE(key string) bool {
	return key == "ice-ufrag" || key == "ice-pwd" || key == "candidate" || key == "end-of-candidates"
}
