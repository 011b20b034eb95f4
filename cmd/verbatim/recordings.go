package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	_ "gocloud.dev/blob/azureblob" // azblob://
	_ "gocloud.dev/blob/s3blob"    // s3://

	"verbatim/pipeline/recording"
)

// recordings opens the bucket of --recordings; nil keeps none. Who wants no audio
// to be kept (--keep-audio 0) gets none unless they ask for it.
func (c *serveCmd) recordings(ctx context.Context) (b *recording.Bucket, err error) {
	switch {
	case c.Recordings == "none" || c.Recordings == "" && c.KeepAudio == 0:
		return nil, nil //nolint:nilnil // nil is a value here: see above
	case c.Recordings == "":
		return recording.OpenFolder(filepath.Join(c.Data, "recordings"), c.Data)
	}
	if err := c.checkRecordings(); err != nil {
		return nil, err
	}
	if b, err = recording.OpenBucket(ctx, c.Recordings, c.Data); err != nil {
		err = fmt.Errorf("--recordings: %w", err)
	}
	return b, err
}

// recordingsBuilt says if this program was built without that kind of bucket.
func recordingsBuilt(bucket string) error {
	if !strings.HasPrefix(bucket, "gs:") || withGCS {
		return nil
	}
	return errors.New("--recordings: this program was built without gs:// (go build -tags gcs has it); " +
		"Google's buckets can be had as s3://BUCKET?endpoint=https://storage.googleapis.com, too")
}
