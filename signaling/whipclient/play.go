package whipclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/pion/opus/pkg/oggreader"

	"verbatim/media/codec"
)

// ErrLost is that of a connection that has failed, or that the server has ended.
var ErrLost = errors.New("the media connection was lost")

// Packet is one Opus packet and how long it lasts, in ticks (48 kHz).
type Packet struct {
	Payload []byte
	Ticks   int64
}

// ReadOgg reads the packets of an Ogg Opus file (RFC 7845) with one stream of
// one or two channels.
func ReadOgg(r io.Reader) iter.Seq2[Packet, error] {
	return func(yield func(Packet, error) bool) {
		ogg, head, err := oggreader.NewWith(r)
		if err != nil {
			yield(Packet{}, fmt.Errorf("not an Ogg Opus file: %w", err))
			return
		}
		if head.ChannelMap != 0 {
			yield(Packet{}, errors.New("only Ogg Opus files with one or two channels can be sent"))
			return
		}
		for {
			payload, _, err := ogg.ParseNextPacket()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(Packet{}, fmt.Errorf("read the Ogg Opus file: %w", err))
				return
			}
			if strings.HasPrefix(string(payload), "OpusTags") || len(payload) == 0 {
				continue
			}
			ticks, err := codec.OpusTicks(payload)
			if err != nil {
				yield(Packet{}, fmt.Errorf("read the Ogg Opus file: %w", err))
				return
			}
			if !yield(Packet{Payload: payload, Ticks: ticks}, nil) {
				return
			}
		}
	}
}

// Play sends packets in real time, each when the one before has been spoken,
// and returns how many ticks (48 kHz) it sent. It asks for a packet when it has
// sent the one before.
func (c *Conn) Play(ctx context.Context, packets iter.Seq2[Packet, error]) (sent int64, err error) {
	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for p, err := range packets {
		if err != nil {
			return sent, err
		}
		timer.Reset(time.Until(start.Add(time.Duration(sent) * time.Second / clockRate)))
		select {
		case <-timer.C:
		case <-c.lost:
			return sent, ErrLost
		case <-ctx.Done():
			return sent, ctx.Err()
		}
		if err := c.Send(p.Payload, p.Ticks); err != nil {
			return sent, fmt.Errorf("send: %w", err)
		}
		sent += p.Ticks
	}
	return sent, nil
}
