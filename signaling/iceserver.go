package signaling

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/pion/stun/v4"
)

// ICEServer is a STUN or TURN server that clients are told of (RFC 9725, 4.6).
type ICEServer struct {
	uri                  string // RFC 7064, RFC 7065
	username, credential string
}

// ParseICEServer reads stun:HOST[:PORT] or
// turn:HOST[:PORT]?username=NAME&credential=SECRET[&transport=udp|tcp], name and
// secret percent-encoded. Its errors do not repeat the secret.
func ParseICEServer(text string) (ICEServer, error) {
	uri, query, _ := strings.Cut(text, "?")
	q, err := url.ParseQuery(query)
	if err != nil {
		return ICEServer{}, errors.New("what follows the ? is no query")
	}
	s := ICEServer{uri: uri, username: q.Get("username"), credential: q.Get("credential")}
	q.Del("username")
	q.Del("credential")
	if len(q) > 0 {
		s.uri += "?" + q.Encode()
	}
	if strings.ContainsAny(s.uri, "<>\" \r\n") {
		return ICEServer{}, errors.New("an address has no such characters")
	}
	u, err := stun.ParseURI(s.uri)
	if err != nil {
		return ICEServer{}, fmt.Errorf("want stun:HOST, turn:HOST or turns:HOST: %w", err)
	}
	turn := u.Scheme == stun.SchemeTypeTURN || u.Scheme == stun.SchemeTypeTURNS
	if turn != (s.username != "") || turn != (s.credential != "") {
		return ICEServer{}, errors.New("turn: and turns: need ?username=…&credential=…, stun: takes none")
	}
	if strings.ContainsFunc(s.username+s.credential, func(r rune) bool { return r < ' ' || r > '~' }) {
		return ICEServer{}, errors.New("username and credential are printable ASCII")
	}
	return s, nil
}

// String is for people; it leaves the secret out.
func (s ICEServer) String() string { return s.uri }

// GoString is String, so that %#v does not show the secret.
func (s ICEServer) GoString() string { return s.uri }

// link is the value of a Link header (RFC 8288, 3).
func (s ICEServer) link() string {
	l := "<" + s.uri + `>; rel="ice-server"`
	if s.username != "" {
		quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
		l += `; username="` + quote.Replace(s.username) + `"; credential="` + quote.Replace(s.credential) + `"; credential-type="password"`
	}
	return l
}
