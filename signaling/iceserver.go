package signaling

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" // #nosec G505 -- the mechanism has no other
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/pion/stun/v4"
)

// credentialLifetime is how long credentials are good that are made for one client.
// It has to begin within that time; what was begun goes on.
const credentialLifetime = 10 * time.Minute

// maxSecretFile is in bytes.
const maxSecretFile = 4 << 10

// ICEServer is a STUN or TURN server that clients are told of (RFC 9725, 4.6).
type ICEServer struct {
	uri                  string // RFC 7064, RFC 7065; with %s for a host that is our own
	username, credential string
	secret               []byte // of credentials that are made for each client; nil: those above are for all
}

// OurTURN is the TURN server of this process, at a port for "udp", "tcp" or "tls".
// Clients are told of it at host or, if that is empty, at the name by which they
// have called.
func OurTURN(host string, port uint16, over string, secret []byte) ICEServer {
	scheme, transport := "turn:", over
	if over == "tls" {
		scheme, transport = "turns:", "tcp"
	}
	if host == "" {
		host = "%s"
	}
	return ICEServer{uri: scheme + bracketed(host) + ":" + strconv.Itoa(int(port)) + "?transport=" + transport, secret: secret}
}

// bracketed is a host as it stands before a port.
func bracketed(host string) string {
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is6() {
		return "[" + host + "]"
	}
	return host
}

// ParseICEServer reads stun:HOST[:PORT], turn:HOST[:PORT]?PARAMETERS or turns:….
// The parameters are username and credential, which are given to all clients, or
// secret-file, a file with the secret that the server makes credentials of as
// coturn does (use-auth-secret); and transport (udp or tcp). All are
// percent-encoded. Errors do not repeat a secret.
func ParseICEServer(text string) (ICEServer, error) {
	uri, query, _ := strings.Cut(text, "?")
	q, err := url.ParseQuery(query)
	if err != nil {
		return ICEServer{}, errors.New("what follows the ? is no query")
	}
	s := ICEServer{uri: uri, username: q.Get("username"), credential: q.Get("credential")}
	file := q.Get("secret-file")
	for _, key := range []string{"username", "credential", "secret-file"} {
		q.Del(key)
	}
	if len(q) > 0 {
		s.uri += "?" + q.Encode()
	}
	if strings.ContainsAny(s.uri, "<>\" \r\n%") {
		return ICEServer{}, errors.New("an address has no such characters")
	}
	u, err := stun.ParseURI(s.uri)
	if err != nil {
		return ICEServer{}, fmt.Errorf("want stun:HOST, turn:HOST or turns:HOST: %w", err)
	}
	turn := u.Scheme == stun.SchemeTypeTURN || u.Scheme == stun.SchemeTypeTURNS
	lasting := s.username != "" && s.credential != ""
	switch {
	case !turn && (file != "" || s.username != "" || s.credential != ""):
		return ICEServer{}, errors.New("stun: takes neither credentials nor a secret")
	case turn && file == "" && !lasting:
		return ICEServer{}, errors.New("turn: and turns: need ?username=…&credential=… or ?secret-file=…")
	case file != "" && (s.username != "" || s.credential != ""):
		return ICEServer{}, errors.New("it has either a secret-file, or a username and a credential")
	}
	if strings.ContainsFunc(s.username+s.credential, func(r rune) bool { return r < ' ' || r > '~' }) {
		return ICEServer{}, errors.New("username and credential are printable ASCII")
	}
	if file != "" {
		if s.secret, err = readSecret(file); err != nil {
			return ICEServer{}, err
		}
	}
	return s, nil
}

// CheckSecret says what is wrong with a secret that credentials are made of.
func CheckSecret(secret []byte) error {
	if n := len(secret); n < 16 || n > maxSecretFile {
		return fmt.Errorf("the secret has %d bytes; it needs 16 or more", n)
	}
	return nil
}

// readSecret reads a secret from a file, less the white space around it.
func readSecret(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read a secret: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return nil, fmt.Errorf("read a secret: %w", err)
	}
	b = bytes.TrimSpace(b)
	if err := CheckSecret(b); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return b, nil
}

// String is for people; it leaves the secret out.
func (s ICEServer) String() string { return s.uri }

// GoString is String, so that %#v does not show the secret.
func (s ICEServer) GoString() string { return s.uri }

// links are the values of Link headers (RFC 8288, 3) for one client, who called us
// by that host. The client's credentials have one name, so that what it has of a
// server can be counted.
func links(servers []ICEServer, host string, now time.Time) (values []string) {
	name := strconv.FormatInt(now.Add(credentialLifetime).Unix(), 10) + ":" + rand.Text()
	for _, s := range servers {
		if strings.Contains(s.uri, "%s") {
			if !validHost(host) {
				continue // it is not to be reached by that
			}
			s.uri = strings.Replace(s.uri, "%s", bracketed(hostname(host)), 1)
		}
		if s.secret != nil {
			mac := hmac.New(sha1.New, s.secret)
			mac.Write([]byte(name))
			s.username, s.credential = name, base64.StdEncoding.EncodeToString(mac.Sum(nil))
		}
		values = append(values, s.link())
	}
	return values
}

func hostname(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}

func (s ICEServer) link() string {
	l := "<" + s.uri + `>; rel="ice-server"`
	if s.username != "" {
		quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
		l += `; username="` + quote.Replace(s.username) + `"; credential="` + quote.Replace(s.credential) + `"; credential-type="password"`
	}
	return l
}
