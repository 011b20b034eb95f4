package auth

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/url"
	"strconv"
	"time"
)

// LinkLifetime is how long a link is good: a media element asks for parts of a
// file for as long as it plays.
const LinkLifetime = time.Hour

// The query of a link.
const (
	linkExpires   = "expires"   // seconds since 1970
	linkSignature = "signature" // base64url of the HMAC-SHA256
)

// Links signs addresses, so that whoever has one may GET what is there for a
// while: for media elements and downloads, which send no token.
type Links struct {
	key  []byte
	mark string
	now  func() time.Time
}

// NewLinks makes links with a key that comes of the secret. Several servers that
// serve the same meetings have the same secret.
func NewLinks(secret []byte, now func() time.Time) (*Links, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, "verbatim links v1", sha256.Size)
	if err != nil {
		return nil, err
	}
	mark, err := hkdf.Key(sha256.New, secret, nil, "verbatim links mark v1", 12)
	return &Links{key: key, mark: base64.RawURLEncoding.EncodeToString(mark), now: now}, err
}

// Mark is the same for all that have the same secret, of which it tells nothing.
func (l *Links) Mark() string { return l.mark }

// Sign gives the query that makes a link of an address's path, and until when.
func (l *Links) Sign(path string) (query url.Values, expires time.Time) {
	expires = l.now().Add(LinkLifetime).Truncate(time.Second).UTC()
	return url.Values{
		linkExpires:   {strconv.FormatInt(expires.Unix(), 10)},
		linkSignature: {base64.RawURLEncoding.EncodeToString(l.mac(path, expires.Unix()))},
	}, expires
}

// Signed reports whether a query claims to make a link.
func Signed(query url.Values) bool { return query.Has(linkSignature) }

// Link is what of a query makes a link.
func Link(query url.Values) url.Values {
	return url.Values{linkExpires: {query.Get(linkExpires)}, linkSignature: {query.Get(linkSignature)}}
}

// Verify reports whether a query makes a link of the path, and whether its time is
// over.
func (l *Links) Verify(path string, query url.Values) (ok, expired bool) {
	expires, err := strconv.ParseInt(query.Get(linkExpires), 10, 64)
	mac, merr := base64.RawURLEncoding.Strict().DecodeString(query.Get(linkSignature))
	if err != nil || merr != nil || !hmac.Equal(mac, l.mac(path, expires)) {
		return false, false
	}
	return true, l.now().Unix() >= expires
}

func (l *Links) mac(path string, expires int64) []byte {
	h := hmac.New(sha256.New, l.key)
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(expires)))
	h.Write([]byte(path))
	return h.Sum(nil)
}
