// Package web is the demo page and the browser client, embedded in the binary.
// Everything is served as it lies in this folder: there is no build step.
package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"
)

// The files are named one by one, because a pattern would take the tests in.
//
//go:embed index.html style.css favicon.svg app.js
//go:embed meetings.html meetings.css meetings.js meeting.html meeting.js
//go:embed app/api.js app/captions.js app/charts.js app/coverage.js app/dom.js app/identity.js
//go:embed app/insight.js app/links.js app/missing.js app/panel.js app/player.js
//go:embed app/recognizer.js app/timeline.js app/token.js app/transcript.js app/words.js
//go:embed vendor/chart.umd.min.js vendor/chart.LICENSE.md
//go:embed client/api.js client/backoff.js client/captions.js client/events.js client/ice.js client/input.js
//go:embed client/microphone.js client/network.js client/problem.js client/publisher.js client/recovery.js
//go:embed client/sse.js client/state.js client/verbatim.js client/whip.js
//go:embed client/example/index.html client/example/example.js
var files embed.FS

// policy lets the page load and connect to nothing but its own origin, and no
// script or style that stands in the markup.
const policy = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"

type asset struct {
	body []byte
	mime string
	etag string
}

// pages are files by the address that they are served at. "meeting" stands for
// the address of every meeting: the page's script reads the id from it.
var pages = map[string]string{
	"/":                "/index.html",
	"/meetings":        "/meetings.html",
	"meeting":          "/meeting.html",
	"/client/example/": "/client/example/index.html",
}

// Handler serves the pages and their files beside them; the client under
// "/client/" may be imported by pages of other origins. Anything else is not
// found. nodes are the origins of other nodes, at which sessions may be, and to which
// the audio of a meeting may lead; nil if there are none.
func Handler(nodes func(context.Context) []string) http.Handler {
	assets := load()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, ok := assets[r.URL.Path]
		policy := policy
		if id, of := strings.CutPrefix(r.URL.Path, "/meetings/"); of && id != "" && !strings.Contains(id, "/") {
			a, ok = assets["meeting"], true
		}
		if !ok {
			http.NotFound(w, r)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
			return
		}
		if nodes != nil && strings.HasPrefix(a.mime, "text/html") {
			from := strings.Join(append([]string{"'self'"}, nodes(r.Context())...), " ")
			policy += "; connect-src " + from + "; media-src " + from
		}
		h := w.Header()
		h.Set("Content-Type", a.mime)
		h.Set("ETag", a.etag)
		h.Set("Cache-Control", "no-cache") // ask each time; the ETag makes it cheap
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Permissions-Policy", "microphone=(self), camera=(), geolocation=()")
		if strings.HasPrefix(r.URL.Path, "/client/") {
			h.Set("Access-Control-Allow-Origin", "*")
			h.Set("Cross-Origin-Resource-Policy", "cross-origin")
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.body))
	})
}

// load reads what was embedded at compile time, which cannot fail.
func load() map[string]asset {
	assets := make(map[string]asset)
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		assets["/"+name] = asset{
			body: body,
			mime: contentType(name),
			etag: `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`,
		}
		return nil
	})
	if err != nil {
		panic("web: embedded files: " + err.Error())
	}
	for at, file := range pages { // one address for one page
		assets[at] = assets[file]
		delete(assets, file)
	}
	return assets
}

// contentType does not leave JavaScript to the system's MIME table, which on
// some machines says text/plain, and browsers then refuse the module.
func contentType(name string) string {
	switch ext := path.Ext(name); ext {
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".md":
		return "text/plain; charset=utf-8"
	default:
		return mime.TypeByExtension(ext)
	}
}
