package signaling

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
)

// A client that lets a long answer wait for more than patience until it has taken
// another part of it, in bytes, is cut off.
const (
	patience = time.Minute
	part     = 32 << 10
)

// mix is the whole meeting: 16 kHz mono FLAC.
func (s *Server) mix(w http.ResponseWriter, r *http.Request) error {
	id := chi.URLParam(r, "meeting")
	rec, err := s.cfg.Recordings.Mix(r.Context(), id)
	if errors.Is(err, meeting.ErrLive) {
		return problem(http.StatusConflict, "meeting-live", "The meeting is still going on; its recording can be had when it is over.")
	}
	if err != nil {
		return err
	}
	return s.recording(w, r, rec, "audio/flac", id+".flac")
}

// opus is one track as its sender sent it.
func (s *Server) opus(w http.ResponseWriter, r *http.Request) error {
	track := chi.URLParam(r, "track")
	rec, err := s.cfg.Recordings.Opus(r.Context(), chi.URLParam(r, "meeting"), track)
	if err != nil {
		return err
	}
	err = s.recording(w, r, rec, "audio/ogg", track+".opus")
	if errors.Is(err, meeting.ErrNotOpus) {
		return problem(http.StatusNotFound, "not-opus", "This track was never sent as Opus; its audio is at "+
			strings.TrimSuffix(r.URL.Path, ".opus")+".wav.")
	}
	return err
}

// recording sends a file: what is kept in any ranges, what is made now from its
// beginning to its end.
func (s *Server) recording(w http.ResponseWriter, r *http.Request, rec meeting.Recording, mime, name string) error {
	w.Header().Set("Cache-Control", "no-store")
	out := &patientWriter{ResponseWriter: w, mime: mime, name: name, made: rec.Kept == nil}
	if rec.Kept == nil && r.Method == http.MethodHead {
		head := headWriter{p: out}
		if err := s.turn(r).make(&head, rec.Write); err != nil && !head.answered {
			return err
		}
		return nil
	}
	if rec.Kept == nil {
		return s.turn(r).make(out, rec.Write)
	}
	defer rec.Kept.Close()
	out.describe()
	return serveContent(out, r, rec.At, rec.Kept)
}

// patientWriter gives the client time for every part of an answer. It says what
// the answer is only with its first byte, since it may yet be an error.
type patientWriter struct {
	http.ResponseWriter
	mime, name string
	made       bool // while it is sent, so that no part of it can be had

	waited time.Duration // for the client, in this part
	taken  int           // bytes of it
}

func (p *patientWriter) describe() {
	h := p.Header()
	h.Set("Content-Type", p.mime)
	h.Set("Content-Disposition", fmt.Sprintf("inline; filename=%q", p.name))
	if p.made {
		h.Set("Accept-Ranges", "none")
	}
}

func (p *patientWriter) Write(b []byte) (int, error) {
	if p.Header().Get("Content-Type") == "" {
		p.describe()
	}
	began := time.Now()
	p.wait(patience - p.waited)
	n, err := p.ResponseWriter.Write(b)
	p.waited += time.Since(began)
	if p.taken += n; p.taken >= part {
		p.waited, p.taken = 0, 0
	}
	p.wait(patience) // for what comes next to be made; HTTP/2 would end the answer meanwhile
	return n, err
}

// wait gives the answer so long from now.
func (p *patientWriter) wait(d time.Duration) {
	_ = http.NewResponseController(p.ResponseWriter).SetWriteDeadline(time.Now().Add(d))
}

// errHead ends the making of a file of which only the head was asked for.
var errHead = errors.New("only the head was asked for")

// headWriter answers as soon as the first byte is there, which shows that the
// file can be made.
type headWriter struct {
	p        *patientWriter
	answered bool
}

func (h *headWriter) Write([]byte) (int, error) {
	if !h.answered {
		h.answered = true
		h.p.describe()
		h.p.WriteHeader(http.StatusOK)
	}
	return 0, errHead
}

// serveContent is http.ServeContent but for requests of several ranges, which are
// answered with the whole: each range of them may cost as much as the whole. It
// tells of errors of content.
func serveContent(w http.ResponseWriter, r *http.Request, at time.Time, content io.ReadSeeker) error {
	if strings.Contains(r.Header.Get("Range"), ",") {
		r = r.Clone(r.Context())
		r.Header.Del("Range")
	}
	noted := &notingReader{ReadSeeker: content}
	http.ServeContent(w, r, "", at, noted)
	return noted.err
}

// notingReader keeps the error with which reading ended, if it was one.
type notingReader struct {
	io.ReadSeeker
	err error
}

func (n *notingReader) Read(b []byte) (int, error) {
	k, err := n.ReadSeeker.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		n.err = fmt.Errorf("read a recording: %w", err)
	}
	return k, err
}

// wav is one track's PCM exactly as the stages got it: 16 kHz mono s16. Of a
// track that goes on it is what has arrived.
func (s *Server) wav(w http.ResponseWriter, r *http.Request) error {
	id, track := chi.URLParam(r, "meeting"), chi.URLParam(r, "track")
	out := &patientWriter{ResponseWriter: w}
	turn := s.turn(r)
	file, err := openWAV(func() (int64, iter.Seq2[audio.Frame, error], error) {
		samples, frames, err := s.cfg.Transcripts.Audio(r.Context(), id, track)
		if err != nil {
			return 0, nil, err
		}
		return samples, turn.share(frames), nil
	}, func() { out.wait(patience) })
	if err != nil {
		return err
	}
	defer file.close()
	if file.samples > (math.MaxUint32-wavHeaderLen)/2 {
		return problem(http.StatusConflict, "too-long", "The track is longer than a WAV file can hold (37 hours).")
	}
	h := w.Header()
	h.Set("Content-Type", "audio/wav")
	h.Set("Cache-Control", "no-store")
	h.Set("ETag", fmt.Sprintf(`"%s-%d"`, track, file.samples))
	return serveContent(out, r, time.Time{}, turnReader{file, turn})
}
