//go:build !gcs

package main

const withGCS = false
