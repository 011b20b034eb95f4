package transcribe

import "time"

// State is what the transcription of a track is doing.
type State string

// The states. A track whose audio arrives in real time is live most of the time.
const (
	// StateWaiting: all streams that the recognizer has are taken by others.
	StateWaiting State = "waiting"
	// StateOpening: a stream is being opened.
	StateOpening State = "opening"
	// StateLive: what arrives is written at once.
	StateLive State = "live"
	// StateCatchingUp: what is written is some seconds old.
	StateCatchingUp State = "catching_up"
	// StateIdle: nobody speaks, so that no stream is held.
	StateIdle State = "idle"
	// StateRetrying: a stream failed; the next try is a moment away.
	StateRetrying State = "retrying"
	// StateCircuitOpen: the recognizer is taken to be away, for all tracks; now
	// and then one of them tries.
	StateCircuitOpen State = "circuit_open"
	// StateFallback: the second recognizer transcribes.
	StateFallback State = "fallback"
	// StateFinishing: everything is written; the last words are awaited.
	StateFinishing State = "finishing"
)

// Status of a track's transcription.
type Status struct {
	State   State
	Engine  string    // by its Name, "" as long as none was chosen
	Retries int       // failures in a row without a word in between
	Since   time.Time // of State
}

// EngineStats are the numbers of one engine over all tracks.
type EngineStats struct {
	Name    string
	Streams int // held now
	Waiting int // tracks that wait for one
	// Opened, Failed and Finals count since the start: streams that opened,
	// those that could not be opened or ended before their time, and finals.
	Opened, Failed, Finals uint64
	CircuitOpen            bool
}
