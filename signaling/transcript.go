package signaling

import (
	"io"
	"net/http"

	"github.com/go-chi/chi/v5"

	"verbatim/pipeline/transcript"
)

// formats are those that a transcript is exported in.
var formats = map[string]struct {
	mime  string
	write func(io.Writer, transcript.Document) error
}{
	"json": {"application/json", transcript.WriteJSON}, // UTF-8 by RFC 8259
	"vtt":  {"text/vtt; charset=utf-8", transcript.WriteVTT},
	"srt":  {"application/x-subrip; charset=utf-8", transcript.WriteSRT},
	"txt":  {"text/plain; charset=utf-8", transcript.WriteTXT},
}

// transcript is what was said in a meeting, finals only. It is never kept by
// caches: a meeting may be erased.
func (s *Server) transcript(w http.ResponseWriter, r *http.Request) error {
	format := chi.URLParam(r, "format")
	f, ok := formats[format]
	if !ok {
		return problem(http.StatusNotFound, "no-format", "Transcripts come as json, vtt, srt and txt.")
	}
	var doc transcript.Document
	err := s.read(r, func() (err error) {
		doc, err = s.cfg.Transcripts.Transcript(r.Context(), chi.URLParam(r, "meeting"))
		return err
	})
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return f.write(&patientWriter{ResponseWriter: w, mime: f.mime, name: doc.Name + "." + format}, doc)
}
