package tracklog

import (
	"bytes"
	"errors"
	"io"
	"iter"
	"testing"
	"time"

	"pgregory.net/rapid"

	"verbatim/media/audio"
)

func sequence(ps []audio.Packet, err error) iter.Seq2[audio.Packet, error] {
	return func(yield func(audio.Packet, error) bool) {
		for _, p := range ps {
			if !yield(p, nil) {
				return
			}
		}
		if err != nil {
			yield(audio.Packet{}, err)
		}
	}
}

// read collects packets up to the first error.
func read(packets iter.Seq2[audio.Packet, error]) (ps []audio.Packet, err error) {
	for p, err := range packets {
		if err != nil {
			return ps, err
		}
		p.Payload = bytes.Clone(p.Payload)
		ps = append(ps, p)
	}
	return ps, nil
}

func equal(a, b audio.Packet) bool {
	return a.Seq == b.Seq && a.Start == b.Start && a.Samples == b.Samples && a.Kind == b.Kind && a.Origin == b.Origin &&
		a.Format == b.Format && a.At.Equal(b.At) && bytes.Equal(a.Payload, b.Payload)
}

// What is encoded is what is decoded; and what was cut off, changed or made up is an
// error that says so, with nothing but a beginning of the track before it.
func TestEncodeDecode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &sender{}
		var ps []audio.Packet
		for range rapid.IntRange(0, 20).Draw(t, "parts") {
			switch n := rapid.IntRange(1, 30).Draw(t, "n"); rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0:
				ps = append(ps, s.coded(n, rapid.IntRange(0, 200).Draw(t, "bytes"))...)
			case 1:
				for range n {
					ps = append(ps, s.packet(audio.Shed, 960, nil))
				}
			case 2:
				ps = append(ps, s.packet(audio.Silence, int64(n)*480, nil))
			case 3:
				ps = append(ps, s.packet(audio.Lost, 960, nil))
			}
		}
		ps = append(ps, s.end(audio.ReasonLeft))
		var file bytes.Buffer
		if err := Encode(&file, sequence(ps, nil)); err != nil {
			t.Fatal(err)
		}
		got, err := read(Decode(bytes.NewReader(file.Bytes()), s.start))
		if err != nil || len(got) != len(ps) {
			t.Fatalf("%d packets of %d, %v", len(got), len(ps), err)
		}
		begins := func(got []audio.Packet) {
			for i, p := range got {
				if !equal(p, ps[i]) {
					t.Fatalf("packet %d is\n%+v, not\n%+v", i, p, ps[i])
				}
			}
		}
		begins(got)

		cut := rapid.IntRange(0, file.Len()-1).Draw(t, "cut")
		got, err = read(Decode(bytes.NewReader(file.Bytes()[:cut]), s.start))
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut off: %v", err)
		}
		begins(got)
		broken := bytes.Clone(file.Bytes())
		broken[cut] ^= byte(1 << rapid.IntRange(0, 7).Draw(t, "bit"))
		got, err = read(Decode(bytes.NewReader(broken), s.start))
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("changed: %v", err)
		}
		begins(got)
	})
}

// Hours of shed audio take a few bytes; an error on the way is not hidden.
func TestEncode(t *testing.T) {
	s := &sender{}
	var ps []audio.Packet
	for range int(time.Hour / (20 * time.Millisecond)) {
		ps = append(ps, s.packet(audio.Shed, 960, nil))
	}
	var file bytes.Buffer
	if err := Encode(&file, sequence(append(ps, s.end(audio.ReasonLeft)), nil)); err != nil || file.Len() > 1000 {
		t.Errorf("%d bytes, %v", file.Len(), err)
	}
	if got, err := read(Decode(bytes.NewReader(file.Bytes()), s.start-1)); !errors.Is(err, ErrCorrupt) || len(got) > 0 {
		t.Errorf("%d packets of a track that is too long, %v", len(got), err)
	}
	broken := errors.New("broken")
	if err := Encode(io.Discard, sequence(ps[:2], broken)); !errors.Is(err, broken) {
		t.Error(err)
	}
	n := 0
	for range Decode(bytes.NewReader(file.Bytes()), s.start) {
		if n++; n == 3 {
			break // who wants no more gets no more
		}
	}
}
