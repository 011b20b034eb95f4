package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcribe/utterance"
)

const (
	// retryConfig is when it makes sense to ask again after what only a person
	// can put right.
	retryConfig = 30 * time.Second
	// retryBusy is when to ask again a server that is busy and says no more.
	retryBusy = 5 * time.Second
)

// errPlain says that the server does not know verbose_json.
var errPlain = errors.New("the server knows no " + verbose)

// refusal makes an error of an answer other than 2xx.
func (r *Recognizer) refusal(resp *http.Response, body []byte, format, key string, now time.Time) error {
	said := message(hide(body, key))
	err := fmt.Errorf("%s answers %s: %s", r.url, resp.Status, said)
	wait, told := retryAfter(resp.Header.Get("Retry-After"), now)
	switch code := resp.StatusCode; {
	case format == verbose && code/100 == 4 && namesFormat(body):
		return fmt.Errorf("%w: %w", errPlain, err)
	case code == 401, code == 403: // what it says may hold the key
		why := "it wants a key"
		if key != "" {
			why = "it does not take the key"
		}
		return &transcribe.RetryError{After: retryConfig, Err: fmt.Errorf("%s answers %s: %s: put the right one into %v, "+
			"or say key_file=FILE", r.url, resp.Status, why, r.key)}
	case code/100 == 3, code == 404, code == 405:
		return &transcribe.RetryError{After: retryConfig, Err: fmt.Errorf("%w: is the URL right, which ends before /audio/transcriptions, "+
			"and is there a model %q?", err, r.model)}
	case code == 400, code == 413, code == 415, code == 422:
		return &utterance.RefusedError{Reason: fmt.Sprintf("the server answers %s: %s", resp.Status, said)}
	case code == 429 && !told:
		return &transcribe.RetryError{After: retryBusy, Err: err}
	case told && (code == 429 || code == 503):
		return &transcribe.RetryError{After: wait, Err: err}
	case code == 402:
		return &transcribe.RetryError{After: retryConfig, Err: err}
	}
	return err
}

// namesFormat reports whether a server's message is about what is only asked for
// with verbose_json.
func namesFormat(body []byte) bool {
	for _, name := range []string{verbose, "response_format", "timestamp_granularities"} {
		if bytes.Contains(body, []byte(name)) {
			return true
		}
	}
	return false
}

// retryAfter reads the header of that name: seconds, or a date.
func retryAfter(text string, now time.Time) (wait time.Duration, ok bool) {
	if s, err := strconv.ParseFloat(text, 64); err == nil && s >= 0 && s < 1e6 {
		return time.Duration(s * float64(time.Second)), true
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), 0), true
	}
	return 0, false
}

// message is what a server says in an error's body, which has many forms.
func message(body []byte) string {
	var b struct {
		Error   json.RawMessage `json:"error"`
		Detail  json.RawMessage `json:"detail"` // FastAPI
		Message string          `json:"message"`
	}
	if json.Unmarshal(body, &b) != nil {
		return utterance.Quote(string(body))
	}
	var inner struct {
		Message string `json:"message"`
	}
	var text string
	for _, raw := range []json.RawMessage{b.Error, b.Detail} {
		if json.Unmarshal(raw, &text) == nil && text != "" {
			return utterance.Quote(text)
		}
		if json.Unmarshal(raw, &inner) == nil && inner.Message != "" {
			return utterance.Quote(inner.Message)
		}
	}
	if b.Message != "" {
		return utterance.Quote(b.Message)
	}
	return utterance.Quote(string(body))
}

// hide takes the key out of what a server says.
func hide(said []byte, key string) []byte {
	if key == "" {
		return said
	}
	return bytes.ReplaceAll(said, []byte(key), []byte("(the key)"))
}
