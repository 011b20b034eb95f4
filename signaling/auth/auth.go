// Package auth says who may do what: bearer tokens (JWT, RFC 7519) name rooms, acts
// and a participant; links are short-lived addresses for what cannot send a token.
//
// It knows nothing of HTTP's routes: signaling asks a Caller.
package auth

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"verbatim/pipeline/meeting"
)

// Act is something that a token allows.
type Act string

// The acts.
const (
	Publish Act = "publish" // send audio as the token's participant
	Listen  Act = "listen"  // read a room's captions, meetings, recordings and numbers
	Manage  Act = "manage"  // what Listen allows; and end and erase meetings, and close sessions of others
)

// AllRooms is the name that stands for every room.
const AllRooms = "*"

const maxRooms = 100 // of one token

// What callers tell apart, by errors.Is.
var (
	// ErrExpired: the token was good, and is not any more.
	ErrExpired = errors.New("the token has expired")
	// ErrUnavailable: the issuer's keys could not be fetched yet, so that nothing
	// is known of the token.
	ErrUnavailable = errors.New("the issuer's keys are not there yet")
)

// Caller is who sent a request. The zero value may do nothing.
type Caller struct {
	// Participant and Name are who the caller is in meetings. Participant is empty
	// for anybody: the server has no authentication.
	Participant string
	Name        string
	// Expires is when the token does; zero: never.
	Expires time.Time

	rooms []string
	acts  []Act
}

// Anybody is the caller of a server without authentication: everything is
// allowed.
func Anybody() Caller { return Caller{rooms: []string{AllRooms}, acts: []Act{Publish, Listen, Manage}} }

// May reports whether the caller may do it in a room; AllRooms asks for all.
func (c Caller) May(act Act, room string) bool {
	return c.Has(act) && (slices.Contains(c.rooms, AllRooms) || slices.Contains(c.rooms, room))
}

// Has reports whether the caller may do it in any room at all.
func (c Caller) Has(act Act) bool {
	return slices.Contains(c.acts, act) || (act == Listen && slices.Contains(c.acts, Manage))
}

// OnlyRoom is the one room that the caller has to do with, if it is one.
func (c Caller) OnlyRoom() (string, bool) {
	if len(c.rooms) == 1 && c.rooms[0] != AllRooms {
		return c.rooms[0], true
	}
	return "", false
}

// Claims are what a token says, besides exp, nbf, iat, iss, aud and sub (RFC 7519,
// 4.1).
type Claims struct {
	jwt.RegisteredClaims
	// Room is one room, or several; AllRooms is every one.
	Room Rooms `json:"room"`
	Act  []Act `json:"act"`
	// Participant is the id in meetings; without it sub is, as it stands or, where
	// no participant could be called so, hashed.
	Participant string `json:"participant,omitempty"`
	// Name is shown to people; without it the participant's id is.
	Name string `json:"name,omitempty"`
}

// Rooms is a room or a list of them in JSON.
type Rooms []string

// UnmarshalJSON implements json.Unmarshaler.
func (r *Rooms) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*r = Rooms{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(r))
}

// MarshalJSON implements json.Marshaler.
func (r Rooms) MarshalJSON() ([]byte, error) {
	if len(r) == 1 {
		return json.Marshal(r[0])
	}
	return json.Marshal([]string(r))
}

// Validate implements jwt.ClaimsValidator: it is called with every token that is
// read. Whoever makes one calls it, too.
func (c Claims) Validate() error {
	if len(c.Room) == 0 || len(c.Room) > maxRooms {
		return fmt.Errorf("room is the name of a room, a list of up to %d, or %q", maxRooms, AllRooms)
	}
	for _, room := range c.Room {
		if room != AllRooms && !meeting.ValidRoom(room) {
			return fmt.Errorf("no room can be called %q", room)
		}
	}
	if len(c.Act) == 0 {
		return errors.New("act lists what is allowed: publish, listen, manage")
	}
	for _, a := range c.Act {
		if a != Publish && a != Listen && a != Manage {
			return fmt.Errorf("there is no act %q: publish, listen, manage", a)
		}
	}
	if c.Participant != "" && !meeting.ValidParticipant(c.Participant) {
		return errors.New("participant is 1 to 64 of A-Z, a-z, 0-9, - and _, and begins with a letter or digit")
	}
	if c.Participant == "" && c.Subject == "" {
		return errors.New("the token does not say who it is for (participant, or sub)")
	}
	return nil
}

// Stamp says when the token begins and ends, whose it is and for whom. An empty
// issuer is left out.
func (c *Claims) Stamp(now time.Time, good time.Duration, issuer, audience string) {
	c.RegisteredClaims = jwt.RegisteredClaims{
		Issuer: issuer, Subject: c.Subject, Audience: jwt.ClaimStrings{audience},
		IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(good)),
	}
}

func (c Claims) caller() Caller {
	who := Caller{Participant: c.Participant, Name: c.Name, Expires: c.ExpiresAt.Time, rooms: c.Room, acts: c.Act}
	if who.Participant == "" {
		who.Participant = participantOf(c.Subject)
	}
	if who.Name == "" {
		who.Name = who.Participant
	}
	return who
}

// participantOf makes a participant's id of a subject, which may be anything.
func participantOf(subject string) string {
	if meeting.ValidParticipant(subject) {
		return subject
	}
	sum := sha256.Sum256([]byte(subject))
	return "p-" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16]))
}
