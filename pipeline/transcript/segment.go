// Package transcript holds the segments of a transcript, their order, and the
// formats they are exported in. It is pure: no I/O but the io.Writer that an
// export is given, no clock, no goroutine.
package transcript

// Participant is who spoke.
type Participant struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Word is one recognized word. Times are milliseconds on the meeting's clock.
type Word struct {
	Text    string `json:"text"`
	StartMS int64  `json:"start_ms"`
	EndMS   int64  `json:"end_ms"`
	// Confidence is 0 to 1, nil where the engine gives none.
	Confidence *float64 `json:"confidence,omitempty"`
}

// Segment is one utterance of one track. Its ID is "<track>.<n>"; the interims
// of an utterance carry the ID that their final will have. Times are
// milliseconds on the meeting's clock. Words is empty where the engine gives
// none; they are never invented.
type Segment struct {
	ID          string      `json:"id"`
	Meeting     string      `json:"meeting"`
	Track       string      `json:"track"`
	Participant Participant `json:"participant"`
	StartMS     int64       `json:"start_ms"`
	EndMS       int64       `json:"end_ms"`
	Text        string      `json:"text"`
	Final       bool        `json:"final"`
	Revision    int         `json:"revision"`
	Engine      string      `json:"engine"`
	Words       []Word      `json:"words,omitempty"`
}
