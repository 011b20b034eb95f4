package contract

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/go-chi/chi/v5"
)

// Parse reads a document. It must be valid, with its examples.
func Parse(text []byte) (*Document, error) {
	published, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		return nil, fmt.Errorf("read the document: %w", err)
	}
	if err := published.Validate(context.Background()); err != nil {
		return nil, fmt.Errorf("validate the document: %w", err)
	}
	b, err := published.MarshalJSON()
	if err != nil {
		return nil, err
	}
	d := &Document{routes: chi.NewRouter(), seen: map[string]bool{}}
	if err := json.Unmarshal(b, &d.raw); err != nil {
		return nil, err
	}
	restrict(d.raw)
	if b, err = json.Marshal(d.raw); err != nil {
		return nil, err
	}
	if d.api, err = openapi3.NewLoader().LoadFromData(b); err != nil {
		return nil, fmt.Errorf("read the strict document: %w", err)
	}
	for path, item := range d.api.Paths.Map() {
		for method := range item.Operations() {
			d.routes.MethodFunc(method, path, func(http.ResponseWriter, *http.Request) {})
		}
	}
	d.kinds = table(d.api.Components.Schemas["Problem"].Value.Description)
	d.events = table(d.api.Paths.Value("/v1/rooms/{room}/events").Get.Description)
	return d, nil
}

// restrict forbids, in every place that uses a schema for a body, what the schema
// does not name. Parts of an allOf know of their own properties only, so it is
// the whole that is closed.
func restrict(node any) {
	switch n := node.(type) {
	case map[string]any:
		for key, v := range n {
			sub := object(v)
			switch key {
			case "headers", "parameters":
				continue
			case "schema", "items":
				closeSchema(sub)
			case "properties":
				for _, s := range sub {
					closeSchema(s)
				}
			case "schemas":
				for name, s := range sub {
					if strings.HasSuffix(name, "Event") || strings.HasPrefix(name, "Webhook") { // used as they are
						closeSchema(s)
					}
				}
			}
			restrict(v)
		}
	case []any:
		for _, v := range n {
			restrict(v)
		}
	}
}

// closeSchema moves a $ref into an allOf, since kin-openapi would take what
// stands beside it for a part of its own, that knows nothing of the other.
func closeSchema(schema any) {
	s, ok := schema.(map[string]any)
	if !ok {
		return
	}
	if ref, ok := s["$ref"]; ok {
		delete(s, "$ref")
		s["allOf"] = []any{map[string]any{"$ref": ref}}
	}
	s["unevaluatedProperties"] = false
}

var row = regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| `?(\\w+)`? \\|")

// table reads the first two columns of a table in a description.
func table(markdown string) map[string]string {
	t := map[string]string{}
	for _, m := range row.FindAllStringSubmatch(markdown, -1) {
		t[m[1]] = m[2]
	}
	return t
}
