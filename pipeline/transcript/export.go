package transcript

import (
	"bufio"
	"io"
	"strconv"
	"strings"
)

// A paragraph of plain text takes in what the same participant says within
// paragraphGapMS, until it lasts paragraphMS: its time of day is how one finds
// a passage in the recording.
const (
	paragraphGapMS = 2000
	paragraphMS    = 60_000
)

// WriteVTT writes d as WebVTT (https://www.w3.org/TR/webvtt1/). Each cue has its
// speaker as voice, and long utterances are split into readable ones. What is
// missing stands in a NOTE.
func WriteVTT(w io.Writer, d Document) error {
	b := bufio.NewWriter(w)
	b.WriteString("WEBVTT\n")
	if n := notice(d); n != "" {
		b.WriteString("\nNOTE " + escapeVTT.Replace(n) + "\n")
	}
	texts := lines(d.Segments)
	for _, c := range cues(d.Segments, texts) {
		b.WriteByte('\n')
		writeTiming(b, c, '.')
		name := speaker(d.Segments[c.segment].Participant)
		if name != "" {
			b.WriteString("<v ")
			escapeVTT.WriteString(b, name)
			if strings.HasSuffix(name, "--") {
				b.WriteByte(' ') // no part of the name; "-->" would end the cue
			}
			b.WriteByte('>')
		}
		escapeVTT.WriteString(b, c.text(texts))
		if name != "" {
			b.WriteString("</v>")
		}
		b.WriteByte('\n')
	}
	return b.Flush()
}

// escapeVTT also keeps "-->", which ends a cue or a comment, out of both.
var escapeVTT = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// WriteSRT writes d as SubRip, split as in WriteVTT. It does not say what is
// missing: the format has no comments, and a cue would be shown as if somebody
// had said it.
func WriteSRT(w io.Writer, d Document) error {
	b := bufio.NewWriter(w)
	texts := lines(d.Segments)
	var number []byte
	for i, c := range cues(d.Segments, texts) {
		if i > 0 {
			b.WriteByte('\n')
		}
		number = strconv.AppendInt(number[:0], int64(i+1), 10)
		b.Write(number)
		b.WriteByte('\n')
		writeTiming(b, c, ',')
		if name := speaker(d.Segments[c.segment].Participant); name != "" {
			escapeSRT.WriteString(b, name)
			b.WriteString(": ")
		}
		escapeSRT.WriteString(b, c.text(texts))
		b.WriteByte('\n')
	}
	return b.Flush()
}

// escapeSRT puts look-alikes where players would see markup: SubRip has tags
// (<i>, and {\an8} or {y:i} from other formats) but no way to escape them.
var escapeSRT = strings.NewReplacer("<", "‹", ">", "›", "{", "(", "}", ")")

// WriteTXT writes d for people to read: a paragraph for each time that someone
// speaks, and at the end what is missing.
func WriteTXT(w io.Writer, d Document) error {
	b := bufio.NewWriter(w)
	var head []byte
	last := -1               // the segment that was written last
	var start, reached int64 // of the paragraph
	for i, s := range d.Segments {
		text := line(s.Text)
		if text == "" {
			continue
		}
		joins := last >= 0 && s.Participant.ID == d.Segments[last].Participant.ID &&
			s.StartMS-reached <= paragraphGapMS && max(s.EndMS, s.StartMS)-start <= paragraphMS
		if joins {
			b.WriteByte(' ')
			reached = max(reached, s.EndMS)
		} else {
			if last >= 0 {
				b.WriteByte('\n')
			}
			head = append(appendClock(append(head[:0], '['), s.StartMS), ']', ' ')
			b.Write(head)
			if name := speaker(s.Participant); name != "" {
				b.WriteString(name + ": ")
			}
			start, reached = s.StartMS, max(s.StartMS, s.EndMS)
		}
		b.WriteString(text)
		last = i
	}
	if last >= 0 {
		b.WriteByte('\n')
	}
	if n := notice(d); n != "" {
		b.WriteString(n + "\n")
	}
	return b.Flush()
}

// lines are the segments' texts, each on one line: a blank line would end a
// cue, and what follows it could pass for another one.
func lines(segments []Segment) []string {
	texts := make([]string, len(segments))
	for i, s := range segments {
		texts[i] = line(s.Text)
	}
	return texts
}

func (c cue) text(texts []string) string {
	return strings.TrimRight(texts[c.segment][c.from:c.to], " ")
}

func writeTiming(b *bufio.Writer, c cue, sep byte) {
	var buf [64]byte
	t := appendTime(buf[:0], c.start, sep)
	t = append(t, " --> "...)
	t = appendTime(t, c.end, sep)
	b.Write(append(t, '\n'))
}
