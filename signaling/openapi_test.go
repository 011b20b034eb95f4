package signaling

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-chi/chi/v5"

	"verbatim/internal/contract"
)

var parsed = sync.OnceValues(func() (*contract.Document, error) { return contract.Parse(openAPI) })

// described is the document that every answer of these tests is held against.
func described(t testing.TB) *contract.Document {
	t.Helper()
	d, err := parsed()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Every route is in the document, and nothing else is. HEAD goes without saying:
// it is wherever GET is, but for the event stream.
func TestOpenAPIHasAllRoutes(t *testing.T) {
	var routes []string
	heads := map[string]bool{}
	handler := New(Config{Metrics: http.NotFoundHandler()}).Routes()
	err := chi.Walk(handler.(chi.Routes), func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		if method == http.MethodHead {
			heads[route] = true
		} else {
			routes = append(routes, method+" "+route)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(routes)
	if ops := described(t).Operations(); !slices.Equal(ops, routes) {
		t.Errorf("the document has\n%s\nthe server has\n%s", strings.Join(ops, "\n"), strings.Join(routes, "\n"))
	}
	for _, r := range routes {
		if path, ok := strings.CutPrefix(r, "GET "); ok && heads[path] == strings.HasSuffix(path, "/events") {
			t.Errorf("HEAD %s: %v", path, heads[path])
		}
	}
}

// The page for people has all of them, too.
func TestDocsHaveAllRoutes(t *testing.T) {
	text, err := os.ReadFile("../docs/API.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range described(t).Operations() {
		if !strings.Contains(string(text), "`"+op+"`") {
			t.Errorf("docs/API.md lacks %s", op)
		}
	}
}

// The table of problems has every type that the source has.
func TestOpenAPIHasAllProblems(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`problem\(http\.Status\w+, "([a-z-]+)"`).FindAllSubmatch(source, -1) {
			kinds = append(kinds, string(m[1]))
		}
	}
	slices.Sort(kinds)
	if kinds = slices.Compact(kinds); !slices.Equal(kinds, described(t).Problems()) {
		t.Errorf("the document has\n%v\nthe source has\n%v", described(t).Problems(), kinds)
	}
}
