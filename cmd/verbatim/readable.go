package main

import (
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// secretFiles are the files with secrets that flags name, each once.
func (c *serveCmd) secretFiles() (files []string) {
	files = []string{c.AuthSecretFile, c.AuthLinkSecretFile, c.WebhookSecretFile, c.Reach.TURNSecretFile, c.TLS.TLSKey, c.NATS.Creds, c.NATS.Key}
	for _, text := range slices.Concat(c.ICEServer, c.Recognizer) {
		_, query, _ := strings.Cut(text, "?")
		if q, err := url.ParseQuery(query); err == nil { // else it is told of elsewhere
			files = append(files, q.Get("secret-file"), q.Get("key_file"))
		}
	}
	slices.Sort(files)
	return slices.DeleteFunc(slices.Compact(files), func(f string) bool { return f == "" })
}

// warnOfReaders advises to close files with secrets that more people can read than
// have to. It is advice and no error, as who may log in to a machine is not known here.
func (c *serveCmd) warnOfReaders(log *slog.Logger) {
	for _, file := range c.secretFiles() {
		st, err := os.Stat(file)
		if err != nil || mounted(file) {
			continue // that it cannot be read is told of elsewhere
		}
		if who := readers(st); who != "" {
			log.Warn("others on this machine can read a file with a secret; if they are not meant to, chmod 600 keeps them out",
				"file", file, "mode", st.Mode().Perm().String(), "readers", who)
		}
	}
}

// containers is where Docker and its like mount secrets, or a folder of a volume that
// Kubernetes writes, wherever that is mounted: ..2026_01_02_03_04_05.123.
var containers = regexp.MustCompile(`^(/var)?/run/secrets/|/\.\.[0-9]{4}_[^/]*/`)

// mounted says that a file is a secret that Docker, Compose, Podman or Kubernetes has
// mounted. These are in their container alone, where nobody else is, and their mode is
// 0444 or 0644 unless somebody goes to great lengths: a warning would be there always.
func mounted(file string) bool {
	target, err := filepath.EvalSymlinks(file)
	return err == nil && containers.MatchString(target)
}
