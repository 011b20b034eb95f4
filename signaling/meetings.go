package signaling

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"

	"verbatim/media/audio"
	"verbatim/pipeline/meeting"
	"verbatim/pipeline/transcript"
)

// maxList is the most meetings of one page.
const maxList = 100

// roomState is a room and the meeting in it, if there is one.
type roomState struct {
	Room    string           `json:"room"`
	Meeting *meeting.Meeting `json:"meeting"`
}

func (s *Server) roomState(r *http.Request) (roomState, error) {
	st := roomState{Room: chi.URLParam(r, "room")}
	m, ok, err := s.cfg.Meetings.LiveMeeting(r.Context(), st.Room)
	if ok {
		st.Meeting = &m
	}
	return st, err
}

func (s *Server) getRoom(w http.ResponseWriter, r *http.Request) error {
	st, err := s.roomState(r)
	if err != nil {
		return err
	}
	return writeJSON(w, st)
}

func (s *Server) listMeetings(w http.ResponseWriter, r *http.Request) error {
	room, err := roomOf(r)
	if err != nil {
		return err
	}
	limit, err := limitOf(r, maxList)
	if err != nil {
		return err
	}
	ms, next, err := s.cfg.Meetings.Meetings(r.Context(), room, limit, r.URL.Query().Get("cursor"))
	if err != nil {
		return badCursor(err)
	}
	if ms == nil {
		ms = []meeting.Meeting{}
	}
	return writeJSON(w, struct {
		Meetings []meeting.Meeting `json:"meetings"`
		Next     string            `json:"next"`
	}{ms, next})
}

// roomOf is the room that the client asks for, or empty for all.
func roomOf(r *http.Request) (string, error) {
	room := r.URL.Query().Get("room")
	if room != "" && !meeting.ValidRoom(room) {
		return "", problem(http.StatusBadRequest, "bad-room", "No room can have this name.")
	}
	return room, nil
}

// limitOf is how many entries a page has: as many as the client asks for.
func limitOf(r *http.Request, most int) (int, error) {
	v := r.URL.Query().Get("limit")
	if v == "" {
		return 20, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > most {
		return 0, problem(http.StatusBadRequest, "bad-limit", fmt.Sprintf("limit is a number from 1 to %d.", most))
	}
	return n, nil
}

// badCursor tells the client of a cursor that is none.
func badCursor(err error) error {
	if errors.Is(err, meeting.ErrBadCursor) {
		return problem(http.StatusBadRequest, "bad-cursor", "cursor is the value of next in the page before; leave it out for the first.")
	}
	return err
}

func (s *Server) getMeeting(w http.ResponseWriter, r *http.Request) error {
	m, err := s.cfg.Meetings.Meeting(r.Context(), chi.URLParam(r, "meeting"))
	if err != nil {
		return err
	}
	return writeJSON(w, m)
}

func (s *Server) endMeeting(w http.ResponseWriter, r *http.Request) error {
	m, err := s.cfg.Meetings.End(r.Context(), chi.URLParam(r, "meeting"))
	if err != nil {
		return err
	}
	return writeJSON(w, m)
}

func (s *Server) eraseMeeting(w http.ResponseWriter, r *http.Request) error {
	id := chi.URLParam(r, "meeting")
	m, err := s.cfg.Meetings.Meeting(r.Context(), id)
	if err != nil {
		return err
	}
	if m.State == meeting.StateLive {
		return problem(http.StatusConflict, "meeting-live", "The meeting is still going on; end it first (POST …/end).")
	}
	if err := s.cfg.Meetings.Erase(r.Context(), id); err != nil {
		return err
	}
	return s.noContent(w, r)
}

func (s *Server) transcript(w http.ResponseWriter, r *http.Request) error {
	formats := map[string]struct {
		mime  string
		write func(io.Writer, transcript.Document) error
	}{
		"json": {"application/json", transcript.WriteJSON},
		"vtt":  {"text/vtt; charset=utf-8", transcript.WriteVTT},
		"srt":  {"application/x-subrip; charset=utf-8", transcript.WriteSRT},
		"txt":  {"text/plain; charset=utf-8", transcript.WriteTXT},
	}
	format := chi.URLParam(r, "format")
	f, ok := formats[format]
	if !ok {
		return problem(http.StatusNotFound, "no-format", "Transcripts come as json, vtt, srt and txt.")
	}
	id := chi.URLParam(r, "meeting")
	doc, err := s.cfg.Transcripts.Transcript(r.Context(), id)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", f.mime)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Disposition", fmt.Sprintf(`inline; filename="%s.%s"`, id, format))
	return f.write(w, doc)
}

// wav is one track's PCM exactly as the stages got it: 16 kHz mono s16.
func (s *Server) wav(w http.ResponseWriter, r *http.Request) error {
	samples, frames, err := s.cfg.Transcripts.Audio(r.Context(), chi.URLParam(r, "meeting"), chi.URLParam(r, "track"))
	if err != nil {
		return err
	}
	const header = 44
	if samples > (math.MaxUint32-header)/2 {
		return problem(http.StatusConflict, "too-long", "The track is longer than a WAV file can hold (37 hours).")
	}
	h := w.Header()
	h.Set("Content-Type", "audio/wav")
	h.Set("Content-Length", strconv.FormatInt(header+2*samples, 10))
	h.Set("Cache-Control", "no-store")
	if _, err := w.Write(wavHeader(samples)); err != nil { //nolint:gosec // G705: numbers, as audio/wav
		return err
	}
	deadline := http.NewResponseController(w)
	var buf []byte
	for f, err := range frames {
		if err != nil {
			// The length was promised: the client sees that it is short.
			return fmt.Errorf("read a track's audio: %w", err)
		}
		if buf = appendPCM(buf, f.PCM); len(buf) >= 32<<10 {
			_ = deadline.SetWriteDeadline(time.Now().Add(time.Minute)) // every 1 s of audio or so
			if _, err := w.Write(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
	}
	_, err = w.Write(buf)
	return err
}

func appendPCM(b []byte, pcm []int16) []byte {
	for _, v := range pcm {
		b = binary.LittleEndian.AppendUint16(b, uint16(v))
	}
	return b
}

// wavHeader is that of a canonical RIFF/WAVE file with PCM.
func wavHeader(samples int64) []byte {
	const bytesPerSample = 2
	size := uint32(samples * bytesPerSample)
	le := binary.LittleEndian
	b := append([]byte(nil), "RIFF"...)
	b = le.AppendUint32(b, 36+size)
	b = append(b, "WAVEfmt "...)
	b = le.AppendUint32(b, 16)
	b = le.AppendUint16(b, 1) // PCM
	b = le.AppendUint16(b, 1) // channels
	b = le.AppendUint32(b, audio.FrameRate)
	b = le.AppendUint32(b, audio.FrameRate*bytesPerSample)
	b = le.AppendUint16(b, bytesPerSample)
	b = le.AppendUint16(b, 8*bytesPerSample)
	b = append(b, "data"...)
	return le.AppendUint32(b, size)
}

func writeJSON(w http.ResponseWriter, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, err = w.Write(append(b, '\n'))
	return err
}
