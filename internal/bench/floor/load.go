//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"verbatim/signaling/whipclient"
)

const (
	clockRate = 48000
	mtu       = 1500
)

// load sends streams, each from a socket of its own, as so many browsers would.
type load struct {
	packets []whipclient.Packet
	streams []stream
}

type stream struct {
	socket *net.UDPConn
	srtp   *srtp.Context
	header rtp.Header
	next   int // packet
}

// newLoad makes streams with random keys. keys is what the receiver must know of
// them: for each stream its SSRC, master key and salt. All packets last the same.
func newLoad(n int, profile srtp.ProtectionProfile, packets []whipclient.Packet) (_ *load, keys io.Reader, err error) {
	keyLen, err := profile.KeyLen()
	if err != nil {
		return nil, nil, err
	}
	saltLen, err := profile.SaltLen()
	if err != nil {
		return nil, nil, err
	}
	l := &load{packets: packets, streams: make([]stream, n)}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	all := make([]byte, 0, n*(4+keyLen+saltLen))
	for i := range l.streams {
		s := &l.streams[i]
		secret := make([]byte, keyLen+saltLen)
		_, _ = rand.Read(secret) // never fails
		if s.srtp, err = srtp.CreateContext(secret[:keyLen], secret[keyLen:], profile); err != nil {
			return nil, nil, err
		}
		if s.socket, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
			return nil, nil, fmt.Errorf("open a socket for each stream: %w", err)
		}
		// The streams are at different places of the file.
		s.next = i * len(packets) / n
		s.header = rtp.Header{Version: 2, PayloadType: 111, SequenceNumber: 1, SSRC: uint32(i+1) * 2654435761}
		all = append(binary.BigEndian.AppendUint32(all, s.header.SSRC), secret...)
	}
	return l, bytes.NewReader(all), nil
}

func (l *load) close() {
	for _, s := range l.streams {
		if s.socket != nil {
			_ = s.socket.Close() // what was sent is sent
		}
	}
}

// send sends for that long to a port on loopback, in real time: each stream a
// packet when the one before is over, the streams evenly one after the other. It
// returns how many packets it sent.
func (l *load) send(ctx context.Context, port int, long time.Duration) (sent uint64, err error) {
	to := (&net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}).AddrPort()
	every := time.Duration(l.packets[0].Ticks) * time.Second / clockRate / time.Duration(len(l.streams))
	var plain, datagram [mtu]byte
	start := time.Now()
	for due := time.Duration(0); due < long; due += every {
		if wait := due - time.Since(start); wait > 0 {
			time.Sleep(wait)
		} else if wait < -time.Second {
			return sent, errors.New("the load is a second late: its CPU is too slow for so many streams")
		}
		if ctx.Err() != nil {
			return sent, ctx.Err()
		}
		s := &l.streams[sent%uint64(len(l.streams))]
		p := l.packets[s.next]
		n, err := (&rtp.Packet{Header: s.header, Payload: p.Payload}).MarshalTo(plain[:])
		if err != nil {
			return sent, fmt.Errorf("make a packet: %w", err)
		}
		secret, err := s.srtp.EncryptRTP(datagram[:0], plain[:n], nil)
		if err != nil {
			return sent, fmt.Errorf("encrypt a packet: %w", err)
		}
		if _, err := s.socket.WriteToUDPAddrPort(secret, to); err != nil {
			return sent, fmt.Errorf("send a packet: %w", err)
		}
		sent++
		s.next = (s.next + 1) % len(l.packets)
		s.header.SequenceNumber++
		s.header.Timestamp += uint32(p.Ticks)
	}
	return sent, nil
}
