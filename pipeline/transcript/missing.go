package transcript

// MissingKind says what became of audio that no transcript speaks for, by the
// name that it has in the coverage: there is a <kind>_ms for each.
type MissingKind string

// The kinds.
const (
	Concealed     MissingKind = "concealed"     // lost by the network
	Discontinuity MissingKind = "discontinuity" // the sender's timeline broke
	Shed          MissingKind = "shed"          // arrived, and could not be kept
	Skipped       MissingKind = "skipped"       // no recognizer would transcribe it
	Pending       MissingKind = "pending"       // still to be transcribed
)

var missingWords = map[MissingKind]string{
	Concealed:     "lost on the way",
	Discontinuity: "lost to a jump of the sender's clock",
	Shed:          "given up by the server, which could not store it",
	Skipped:       "not transcribed",
	Pending:       "not transcribed yet",
}

// Reason says what the kind means, in words that fit behind a length of time.
// detail is what else is known, or empty.
func (k MissingKind) Reason(detail string) string {
	words, ok := missingWords[k]
	if !ok {
		words = string(k)
	}
	if detail != "" {
		words += ": " + detail
	}
	return words
}

// Missing is a part of a track that no one will transcribe any more, or has not
// yet. Times are milliseconds on the meeting's clock.
type Missing struct {
	Track string `json:"track"`
	// Participant whose track it is.
	Participant Participant `json:"-"`
	StartMS     int64       `json:"start_ms"`
	EndMS       int64       `json:"end_ms"`
	// MissingMS is how much is missing between the two: packets that were lost
	// close to each other stand together. What is missing of a kind of a track
	// adds up to its coverage.
	MissingMS int64       `json:"missing_ms"`
	Kind      MissingKind `json:"kind"`
	Reason    string      `json:"reason"` // in words
}
