package recording

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
	"gocloud.dev/gcerrors"
)

// How long a bucket may take.
const (
	uploadTimeout = time.Hour // of one file: 1 GB at 2 Mbit/s
	eraseTimeout  = 5 * time.Minute
	readTimeout   = 6 * time.Hour // by someone who listens
	idTimeout     = 10 * time.Second
)

// idKey is the file with the bucket's id.
const idKey = "verbatim-bucket"

var bucketID = regexp.MustCompile(`^[A-Z2-7]{26,64}$`)

// ErrNotKept is returned for files that are not in the bucket.
var ErrNotKept = errors.New("no such recording is kept")

// Bucket is where recordings are kept. OpenBucket makes it, whoever opened it
// closes it; all other methods are safe for concurrent use.
type Bucket struct {
	b    *blob.Bucket
	root string // of a folder, else ""
	temp string
}

// OpenBucket opens the bucket of a URL: file:///FOLDER, s3://BUCKET,
// gs://BUCKET, azblob://CONTAINER, with the options of gocloud.dev/blob. A folder
// is made if it is missing. Files are made in the folder temp before they are
// kept. Its errors show no more of the URL than its scheme and its host.
func OpenBucket(ctx context.Context, bucket, temp string) (*Bucket, error) {
	u, err := url.Parse(bucket)
	if err != nil {
		return nil, errors.New("not a URL") // and the error would repeat it
	}
	if dir, ok := Folder(bucket); ok {
		return openFolder(dir, temp)
	}
	b, err := blob.DefaultURLMux().OpenBucketURL(ctx, u)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s://%s: %w", u.Scheme, u.Host, withoutURL(err, u))
	}
	return &Bucket{b: b, temp: temp}, nil
}

// CheckURL says what is wrong with a URL for OpenBucket, as far as that can be
// known without opening it. Its errors do not repeat it.
func CheckURL(bucket string) error {
	u, err := url.Parse(bucket)
	switch {
	case err != nil:
		return errors.New("not a URL")
	case !blob.DefaultURLMux().ValidBucketScheme(u.Scheme):
		return fmt.Errorf("%q is no kind of bucket; there are %s", u.Scheme, strings.Join(blob.DefaultURLMux().BucketSchemes(), ", "))
	case u.Host == "" && (u.Scheme != fileblob.Scheme || u.Path == ""):
		return fmt.Errorf("it names no bucket: want %s://NAME", u.Scheme)
	}
	return nil
}

// Folder is the folder that a URL for OpenBucket stands for, if it is a folder's.
func Folder(bucket string) (dir string, ok bool) {
	u, err := url.Parse(bucket)
	if err != nil || u.Scheme != fileblob.Scheme || u.RawQuery != "" {
		return "", false
	}
	return u.Path, true
}

// OpenFolder is OpenBucket for a folder.
func OpenFolder(dir, temp string) (*Bucket, error) { return openFolder(dir, temp) }

func openFolder(dir, temp string) (*Bucket, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder of recordings: %w", err)
	}
	b, err := fileblob.OpenBucket(dir, &fileblob.Options{NoTempDir: true, Metadata: fileblob.MetadataDontWrite, DirFileMode: 0o700})
	if err != nil {
		return nil, fmt.Errorf("open folder of recordings: %w", err)
	}
	return &Bucket{b: b, root: dir, temp: temp}, nil
}

// Close closes the bucket; what is kept stays.
func (b *Bucket) Close() error { return b.b.Close() }

// Put makes a file and keeps it under that key, all of it or nothing. The file
// has no name while it is made, so that a crash leaves nothing of it.
func (b *Bucket) Put(ctx context.Context, key, contentType string, write func(io.WriteSeeker) error) error {
	f, err := os.CreateTemp(b.temp, "recording-*.tmp")
	if err != nil {
		return fmt.Errorf("make a recording: %w", err)
	}
	removed := os.Remove(f.Name()) == nil
	defer func() {
		_ = f.Close() // it was read to its end, or is of no use
		if !removed { // systems that keep what is open
			_ = os.Remove(f.Name())
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("make a recording: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, uploadTimeout)
	defer cancel()
	if err := b.b.Upload(ctx, key, f, &blob.WriterOptions{ContentType: contentType}); err != nil {
		return fmt.Errorf("keep recording %s: %w", key, err)
	}
	return nil
}

// File is a file that is kept.
type File struct {
	*blob.Reader
	cancel context.CancelFunc
}

// Close ends reading.
func (f *File) Close() error {
	defer f.cancel()
	return f.Reader.Close()
}

// Open opens a file for reading from anywhere. The error is ErrNotKept if there
// is none.
func (b *Bucket) Open(ctx context.Context, key string) (*File, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	r, err := b.b.NewReader(ctx, key, nil)
	if err == nil {
		return &File{r, cancel}, nil
	}
	cancel()
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil, ErrNotKept
	}
	return nil, fmt.Errorf("read recording %s: %w", key, err)
}

// Remove removes a file. That there is none is no error.
func (b *Bucket) Remove(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, eraseTimeout)
	defer cancel()
	if err := b.b.Delete(ctx, key); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return fmt.Errorf("remove %s: %w", key, err)
	}
	return nil
}

// ID tells this bucket from all others: nodes that are given the same id read and
// write the same files. It stands in a file of the bucket, which is made if there is
// none. Two that make it at once may be given two; both get the one that stays when
// they ask again.
func (b *Bucket) ID(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, idTimeout)
	defer cancel()
	id, err := b.b.ReadAll(ctx, idKey)
	if gcerrors.Code(err) == gcerrors.NotFound {
		if err = b.b.WriteAll(ctx, idKey, []byte(rand.Text()), &blob.WriterOptions{ContentType: "text/plain"}); err == nil {
			id, err = b.b.ReadAll(ctx, idKey)
		}
	}
	if err != nil {
		return "", fmt.Errorf("read the bucket's id: %w", err)
	}
	if !bucketID.Match(id) {
		return "", fmt.Errorf("the bucket's file %s holds no id", idKey)
	}
	return string(id), nil
}

// Erase removes all files below a folder of the bucket. That there are none is
// no error.
func (b *Bucket) Erase(ctx context.Context, folder string) error {
	ctx, cancel := context.WithTimeout(ctx, eraseTimeout)
	defer cancel()
	list := b.b.List(&blob.ListOptions{Prefix: folder + "/"})
	for {
		o, err := list.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = b.b.Delete(ctx, o.Key)
		}
		if err != nil && gcerrors.Code(err) != gcerrors.NotFound {
			return fmt.Errorf("erase recordings of %s: %w", folder, err)
		}
		if err != nil {
			break
		}
	}
	if b.root == "" {
		return nil
	}
	// Object stores know no empty folders; others do.
	if err := os.Remove(filepath.Join(b.root, folder)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("erase recordings: %w", err)
	}
	return nil
}

// withoutURL is an error without the values of the URL that it may repeat: keys
// may stand in them.
func withoutURL(err error, u *url.URL) error {
	text := strings.ReplaceAll(err.Error(), u.String(), "the URL")
	if password, ok := u.User.Password(); ok {
		text = strings.ReplaceAll(text, password, "…")
	}
	for _, values := range u.Query() {
		for _, v := range values {
			if len(v) > 3 { // what is shorter is no secret, but part of many words
				text = strings.ReplaceAll(strings.ReplaceAll(text, v, "…"), url.QueryEscape(v), "…")
			}
		}
	}
	return errors.New(text)
}
