//go:build gcs

package main

import _ "gocloud.dev/blob/gcsblob" // gs://: 30 MB of program, 20 MB of memory

const withGCS = true
