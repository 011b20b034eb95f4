package media

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
	"sync"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/prf"
	"github.com/pion/dtls/v3/pkg/protocol/extension"
	"github.com/pion/dtls/v3/pkg/protocol/handshake"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

// A packet of RTP passes four queues and goroutines on its way through pion
// (ICE, its demultiplexer, SRTP, the stream's buffer), which costs more than all
// that has to be done with it. So a session learns the keys of its own DTLS
// handshake, and then takes SRTP from the socket and decrypts it in its own
// goroutine. ICE, DTLS and RTCP go through pion as ever, and so does RTP when
// the keys are not to be had.

// keys learns the SRTP keys of one DTLS handshake, in which we are the server:
// pion shows its ServerHello (hello), and, while it reads the client's next
// flight, writes a line of the key log (Write), which is before the client can
// have sent any RTP. It is safe for concurrent use.
type keys struct {
	found func() // is told that decrypter has one; before the handshake is over

	mu           sync.Mutex // guards what follows
	serverRandom [handshake.RandomLength]byte
	suite        dtls.CipherSuiteID
	profile      srtp.ProtectionProfile
	context      *srtp.Context
}

// hello is pion's hook for the ServerHello, which it leaves as it is.
func (k *keys) hello(m handshake.MessageServerHello) handshake.Message {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.serverRandom, k.suite, k.profile = m.Random.MarshalFixed(), 0, 0
	if m.CipherSuiteID != nil {
		k.suite = dtls.CipherSuiteID(*m.CipherSuiteID)
	}
	for _, e := range m.Extensions {
		if use, ok := e.(*extension.UseSRTP); ok && len(use.ProtectionProfiles) == 1 && len(use.MasterKeyIdentifier) == 0 {
			k.profile = srtp.ProtectionProfile(use.ProtectionProfiles[0])
		}
	}
	return &m
}

// Write takes a line of the key log: CLIENT_RANDOM, the client's random bytes
// and the master secret, in hexadecimal. It never fails: without keys RTP goes
// through pion.
func (k *keys) Write(line []byte) (int, error) {
	if err := k.read(line); err == nil {
		k.found()
	}
	return len(line), nil
}

var errNoKeys = errors.New("the SRTP keys of the handshake are not to be had")

func (k *keys) read(line []byte) error {
	f := bytes.Fields(line)
	if len(f) != 3 || string(f[0]) != "CLIENT_RANDOM" {
		return errNoKeys
	}
	clientRandom, err := hex.AppendDecode(nil, f[1])
	if err != nil || len(clientRandom) != handshake.RandomLength {
		return errNoKeys
	}
	secret, err := hex.AppendDecode(nil, f[2])
	if err != nil {
		return errNoKeys
	}
	defer clear(secret)
	k.mu.Lock()
	defer k.mu.Unlock()
	h := hashOf(k.suite)
	if h == nil || k.profile == 0 {
		return errNoKeys
	}
	cfg := srtp.Config{Profile: k.profile}
	if err := cfg.ExtractSessionKeysFromDTLS(exporter{secret, clientRandom, k.serverRandom[:], h}, false); err != nil {
		return fmt.Errorf("%w: %w", errNoKeys, err)
	}
	k.context, err = srtp.CreateContext(cfg.Keys.RemoteMasterKey, cfg.Keys.RemoteMasterSalt, k.profile,
		srtp.SRTPReplayProtection(srtpReplayWindow),
		srtp.Cryptex(srtp.CryptexModeEnabled)) // pion's answer takes up an offer of it (RFC 9335); taken is what comes without it, too
	return err
}

// decrypter is for what the client sends, nil if the keys are not to be had. It
// may be used once the handshake is over, and the client is who it should be.
func (k *keys) decrypter() *srtp.Context {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.context
}

// hashOf is the hash of a cipher suite's pseudorandom function, nil for suites
// that WebRTC does not use.
func hashOf(s dtls.CipherSuiteID) func() hash.Hash {
	switch s {
	case dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, dtls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		dtls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA:
		return sha256.New // RFC 5246, 5: also of suites that name SHA-1
	case dtls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384:
		return sha512.New384
	default:
		return nil
	}
}

// exporter exports keying material as RFC 5705, 4, says, for RFC 5764, 4.2.
type exporter struct {
	secret, clientRandom, serverRandom []byte
	hash                               func() hash.Hash
}

// ExportKeyingMaterial implements srtp.KeyingMaterialExporter.
func (e exporter) ExportKeyingMaterial(label string, context []byte, length int) ([]byte, error) {
	if len(context) != 0 {
		return nil, errNoKeys
	}
	return prf.PHash(e.secret, bytes.Join([][]byte{[]byte(label), e.clientRandom, e.serverRandom}, nil), length, e.hash)
}

// decryption decrypts the SRTP of one session, in the session's goroutine.
type decryption struct {
	context *srtp.Context
	header  rtp.Header
	ssrcs   []uint32 // of which something came: the context remembers each
}

var (
	errShort        = errors.New("shorter than a header of RTP")
	errTooManySSRCs = errors.New("one SSRC too many")
)

// open decrypts a packet in place and returns how long it is. A packet of one
// SSRC too many is not looked at.
func (d *decryption) open(b []byte) (int, error) {
	if len(b) < minRTP {
		return 0, errShort
	}
	ssrc := binary.BigEndian.Uint32(b[8:])
	known := slices.Contains(d.ssrcs, ssrc)
	if !known && len(d.ssrcs) == maxSSRCs {
		return 0, errTooManySSRCs
	}
	csrc, extensions := d.header.CSRC, d.header.Extensions
	plain, err := d.context.DecryptRTP(b, b, &d.header)
	switch {
	case err != nil: // what a forger says makes nothing grow
		d.header.CSRC, d.header.Extensions = csrc, extensions
	case !known:
		d.ssrcs = append(d.ssrcs, ssrc)
	}
	return len(plain), err
}

// replayed tells a packet that had come before from one that is not the client's.
// The library tells by its text only.
func replayed(err string) bool {
	return strings.HasPrefix(err, "srtp ") && strings.HasSuffix(err, "duplicated packet")
}

// minRTP is the length of a header of RTP without anything optional (RFC 3550, 5.1).
const minRTP = 12

// isRTP tells RTP from all else that comes on the same port (RFC 7983, 7 and
// RFC 5761, 4).
func isRTP(b []byte) bool {
	return len(b) >= minRTP && b[0] >= 128 && b[0] <= 191 && (b[1] < 192 || b[1] > 223)
}
