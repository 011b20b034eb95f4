package recording

import (
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	_ "gocloud.dev/blob/s3blob"
)

// s3 is the URL of a bucket of an S3 server that ends with the test.
func s3(t *testing.T) string {
	backend := s3mem.New()
	if err := backend.CreateBucket("meetings"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(server.Close)
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	return "s3://meetings?region=us-east-1&use_path_style=true&endpoint=" + url.QueryEscape(server.URL)
}

// Every kind of bucket keeps, gives and erases.
func TestBucket(t *testing.T) {
	for name, where := range map[string]func(t *testing.T) string{
		"folder":             func(t *testing.T) string { return "file://" + t.TempDir() + "/recordings" },
		"folder, by options": func(t *testing.T) string { return "file://" + t.TempDir() + "?metadata=skip&no_tmp_dir=true" },
		"S3":                 s3,
	} {
		t.Run(name, func(t *testing.T) {
			temp := t.TempDir()
			b, err := OpenBucket(t.Context(), where(t), temp)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			ctx := t.Context()
			put := func(key, text string, fail error) error {
				return b.Put(ctx, key, "audio/flac", func(w io.WriteSeeker) error {
					_, err := io.WriteString(w, text)
					return errors.Join(err, fail)
				})
			}
			long := strings.Repeat("0123456789", 1<<20) // more than one part of S3's
			if err := errors.Join(put("m/audio.flac", long, nil), put("m/t.opus", "Opus", nil), put("n/t.opus", "another", nil), put("n/other.opus", "another", nil)); err != nil {
				t.Fatal(err)
			}
			broken := errors.New("broken")
			if err := put("m/half.opus", "half", broken); !errors.Is(err, broken) {
				t.Error(err)
			}
			f, err := b.Open(ctx, "m/audio.flac")
			if err != nil {
				t.Fatal(err)
			}
			if n, err := f.Seek(-7, io.SeekEnd); n != int64(len(long))-7 || err != nil {
				t.Errorf("%d, %v", n, err)
			}
			if got, err := io.ReadAll(f); string(got) != "3456789" || err != nil {
				t.Errorf("%q, %v", got, err)
			}
			if _, err := f.Seek(12, io.SeekStart); err != nil {
				t.Error(err)
			}
			if got, err := io.ReadAll(f); string(got) != long[12:] || err != nil || f.ModTime().IsZero() {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
			for _, key := range []string{"m/half.opus", "m/none", "none/t.opus"} {
				if _, err := b.Open(ctx, key); !errors.Is(err, ErrNotKept) {
					t.Errorf("%s: %v", key, err)
				}
			}
			id, err := b.ID(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second time there is nothing to remove
				if err := b.Remove(ctx, "n/other.opus"); err != nil {
					t.Error(err)
				}
				if again, err := b.ID(ctx); again != id || err != nil {
					t.Errorf("%q, then %q, %v", id, again, err)
				}
			}
			for range 2 { // the second time there is nothing to erase
				if err := b.Erase(ctx, "m"); err != nil {
					t.Error(err)
				}
			}
			for key, want := range map[string]error{"m/audio.flac": ErrNotKept, "m/t.opus": ErrNotKept, "n/t.opus": nil, "n/other.opus": ErrNotKept} {
				f, err := b.Open(ctx, key)
				if !errors.Is(err, want) {
					t.Errorf("%s: %v", key, err)
				}
				if err == nil {
					f.Close()
				}
			}
			if b.root != "" {
				if left, _ := filepath.Glob(filepath.Join(b.root, "*")); len(left) != 2 { // n, and the id
					t.Errorf("left: %v", left)
				}
			}
			if left, _ := os.ReadDir(temp); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// Nodes that read the same bucket find the same id, and no other bucket has it. What
// is no id is taken for none.
func TestBucketID(t *testing.T) {
	dir := t.TempDir()
	id := func(where string) (string, error) {
		t.Helper()
		b, err := OpenBucket(t.Context(), "file://"+where, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		return b.ID(t.Context())
	}
	a, errA := id(dir)
	b, errB := id(dir)
	other, errC := id(t.TempDir())
	if err := errors.Join(errA, errB, errC); err != nil || a != b || a == other {
		t.Errorf("%q, %q and %q, %v", a, b, other, err)
	}
	for _, text := range []string{"", "no id", strings.Repeat("A", 25)} {
		if err := os.WriteFile(filepath.Join(dir, idKey), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := id(dir); err == nil {
			t.Errorf("%q of %q", got, text)
		}
	}
}

// What is wrong with a bucket is told without the secrets that its URL may hold.
func TestBucketErrors(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	for _, text := range []string{
		"nosuch://bucket?key=SECRET", "s3://bucket?nosuch=SECRET", "s3://user:SECRET@bucket?region=x&nosuch=SECRET", "s3://bucket?nosuch=SECRET%2B%2F", "%zz SECRET", "file:///dev/null/x", "relative",
	} {
		b, err := OpenBucket(t.Context(), text, t.TempDir())
		if err == nil {
			b.Close()
			t.Errorf("%s is no error", text)
		} else if strings.Contains(err.Error(), "SECRET") {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	b, err := OpenBucket(ctx, s3(t), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	cancel()
	if err := b.Put(ctx, "m/x", "audio/flac", func(io.WriteSeeker) error { return nil }); err == nil {
		t.Error("kept although it was stopped")
	}
}
