package openai

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strings"
	"time"

	"verbatim/media/audio"
	"verbatim/pipeline/transcribe"
	"verbatim/pipeline/transcribe/utterance"
)

const (
	maxBody = 1 << 20 // of an answer
	// leastAudio is what an utterance is filled up to with silence: some servers
	// refuse less than a second, or hear nothing in it.
	leastAudio = audio.FrameRate * 5 / 4
)

// recognize is an utterance.Func.
func (r *Recognizer) recognize(ctx context.Context, u utterance.Utterance, previous string) (transcribe.Result, error) {
	if err := r.requests.Acquire(ctx, 1); err != nil {
		return transcribe.Result{}, err
	}
	defer r.requests.Release(1)
	if !r.plain.Load() {
		res, err := r.post(ctx, u.PCM, previous, verbose)
		if !errors.Is(err, errPlain) {
			return res, err
		}
		res, again := r.post(ctx, u.PCM, previous, plain)
		if again == nil && !r.plain.Swap(true) {
			r.log.Warn("the recognizer gives no times of words", "recognizer", r.name, "err", err)
		}
		return res, again
	}
	return r.post(ctx, u.PCM, previous, plain)
}

// post is one request and its answer.
func (r *Recognizer) post(ctx context.Context, pcm []int16, previous, format string) (res transcribe.Result, err error) {
	key, err := r.key.Read()
	if err != nil {
		return res, &transcribe.RetryError{After: retryConfig, Err: err}
	}
	body, contentType, err := r.form(pcm, previous, format)
	if err != nil {
		return res, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.timeout, fmt.Errorf("there was no answer within %v (option timeout)", r.timeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(body))
	if err != nil {
		return res, err
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Accept", "application/json")
	// Asking twice does no harm: net/http may do so when the server has closed a
	// connection that was kept. The header itself is not sent.
	req.Header["Idempotency-Key"] = []string{}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return res, timely(ctx, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil:
		return res, fmt.Errorf("read the answer of %s: %w", r.url, timely(ctx, err))
	case len(answer) > maxBody:
		return res, fmt.Errorf("the answer of %s is longer than %d bytes", r.url, maxBody)
	case resp.StatusCode/100 != 2:
		return res, r.refusal(resp, answer, format, key, time.Now())
	}
	if res, err = parse(answer, len(pcm)); err != nil {
		return res, fmt.Errorf("the answer of %s %w: %s", r.url, err, shown(answer, key))
	}
	return res, nil
}

// shown is what an error repeats of an answer that cannot be understood. Errors are
// logged, and what was said does not belong there.
func shown(answer []byte, key string) string {
	answer = hide(answer, key)
	said := message(answer)
	if said == utterance.Quote(string(answer)) && (bytes.Contains(answer, []byte(`"text"`)) || bytes.Contains(answer, []byte(`"word"`))) {
		return fmt.Sprintf("%d bytes, not shown, as there is text in them", len(answer))
	}
	return said
}

// timely is err, or that time ran out, which net/http says in many ways.
func timely(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// form is the body of a request and its type.
func (r *Recognizer) form(pcm []int16, previous, format string) (body []byte, contentType string, err error) {
	var b bytes.Buffer
	b.Grow(2*max(len(pcm), leastAudio) + 4<<10)
	w := multipart.NewWriter(&b)
	fields := [][2]string{
		{"model", r.model},
		{"language", r.language},
		{"prompt", strings.TrimSpace(r.prompt + " " + utterance.Tail(previous, r.context))},
		{"response_format", format},
	}
	if format == verbose {
		fields = append(fields, [2]string{"timestamp_granularities[]", "word"}, [2]string{"timestamp_granularities[]", "segment"})
	}
	for _, f := range fields {
		if f[1] != "" {
			err = errors.Join(err, w.WriteField(f[0], f[1]))
		}
	}
	part, perr := w.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {`form-data; name="file"; filename="utterance.wav"`},
		"Content-Type":        {"audio/wav"},
	})
	if err = errors.Join(err, perr); err != nil {
		return nil, "", err
	}
	_, err = part.Write(wav(pcm))
	err = errors.Join(err, w.Close())
	return b.Bytes(), w.FormDataContentType(), err
}

// wav is PCM as a WAV file, filled up with silence to leastAudio.
func wav(pcm []int16) []byte {
	const header = 44
	size := 2 * max(len(pcm), leastAudio)
	b := make([]byte, 0, header+size)
	le := binary.LittleEndian
	b = append(b, "RIFF"...)
	b = le.AppendUint32(b, uint32(header-8+size))
	b = append(b, "WAVEfmt "...)
	b = le.AppendUint32(b, 16)
	b = le.AppendUint16(b, 1) // PCM
	b = le.AppendUint16(b, 1) // channel
	b = le.AppendUint32(b, audio.FrameRate)
	b = le.AppendUint32(b, 2*audio.FrameRate)
	b = le.AppendUint16(b, 2)
	b = le.AppendUint16(b, 16)
	b = append(b, "data"...)
	b = le.AppendUint32(b, uint32(size))
	for _, v := range pcm {
		b = le.AppendUint16(b, uint16(v))
	}
	return b[:header+size]
}
