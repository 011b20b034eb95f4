package realtime

import (
	"encoding/json"
	"fmt"
	"time"

	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcribe/socket"
)

const transcriptionPrefix = "conversation.item.input_audio_transcription."

// busy is when to try again what is too much right now.
const busy = 10 * time.Second

// event is what the server says.
type event struct {
	Type           string `json:"type"`
	ItemID         string `json:"item_id"`
	PreviousItemID string `json:"previous_item_id"`
	Delta          string `json:"delta"`
	Transcript     string `json:"transcript"`
	Error          *struct {
		Type    string `json:"type"`
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// parse reads an event. One that tells of an error is an error.
func parse(message []byte) (e event, err error) {
	if err := json.Unmarshal(message, &e); err != nil {
		return e, fmt.Errorf("openai-realtime: an event cannot be read: %w", err)
	}
	if e.Type != "error" && e.Type != transcriptionPrefix+"failed" {
		return e, nil
	}
	code, text := "", ""
	if e.Error != nil {
		if code = e.Error.Code; code == "" {
			code = e.Error.Type
		}
		text = e.Error.Message
	}
	what := "the server says"
	if e.Type != "error" {
		what = "an utterance was not recognized:"
	}
	err = fmt.Errorf("openai-realtime: %s %s", what, socket.Reason(code+" "+text, ""))
	switch code {
	case "insufficient_quota", "invalid_api_key", "authentication_error", "model_not_found":
		return e, &transcribe.RetryError{After: socket.Person, Err: err}
	case "rate_limit_exceeded", "rate_limit_error":
		return e, &transcribe.RetryError{After: busy, Err: err}
	}
	return e, err
}
