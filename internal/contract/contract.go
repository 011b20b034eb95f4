// Package contract holds answers of the server against the OpenAPI document that
// it serves, for tests.
//
// kin-openapi reads the document, says whether it is valid, and checks values by
// JSON Schema 2020-12, which OpenAPI 3.1 is made of. What it leaves to others is
// here: what the document does not name fails (fields, headers, query parameters,
// statuses, types of problems), HEAD is GET without a body, and what was never
// seen can be told.
//
// A Document may be used by several goroutines.
package contract

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/go-chi/chi/v5"
)

// Document is an OpenAPI document that was made strict.
type Document struct {
	api    *openapi3.T
	routes *chi.Mux
	raw    map[string]any    // the same as plain JSON
	kinds  map[string]string // the table of problems: status by the last part of the type
	events map[string]string // the table of events: schema by event

	mu   sync.Mutex // guards seen
	seen map[string]bool
}

// Operations are all methods and paths: "GET /healthz".
func (d *Document) Operations() []string {
	var all []string
	for path, item := range d.api.Paths.Map() {
		for method := range item.Operations() {
			all = append(all, method+" "+path)
		}
	}
	slices.Sort(all)
	return all
}

// Problems are the types of problems, by the last part.
func (d *Document) Problems() []string { return slices.Sorted(maps.Keys(d.kinds)) }

// unspoken are headers that HTTP itself, CORS and caches need no word for.
var unspoken = []string{
	"Cache-Control", "Connection", "Content-Length", "Content-Type", "Date", "Transfer-Encoding", "Vary", "X-Content-Type-Options",
	"Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Access-Control-Allow-Methods",
	"Access-Control-Allow-Headers", "Access-Control-Max-Age",
}

// Check says what is wrong with an answer to a request; the body is the whole, or
// what has come of an event stream.
func (d *Document) Check(r *http.Request, status int, h http.Header, body []byte) error {
	method, head := r.Method, r.Method == http.MethodHead
	if head {
		method = http.MethodGet
	}
	at := chi.NewRouteContext()
	route := d.find(at, method, r.URL.EscapedPath())
	var resp *openapi3.Response
	var names string // the description, with the problems in it
	switch {
	case route == nil && method == http.MethodOptions && status == http.StatusNoContent:
		return nil // an address without an OPTIONS of its own: Allow is all that is told
	case route == nil:
		resp = d.api.Components.Responses["Other"].Value
		names = *resp.Description
		d.see("no route %d", status)
	default:
		key := strconv.Itoa(status)
		if route.Operation.Responses.Value(key) == nil {
			key = "default"
		}
		resp = route.Operation.Responses.Value(key).Value
		names = d.description(route.Path, method, key)
		d.see("%s %s %d", method, route.Path, status)
	}
	err := d.checkHeaders(resp, h, status)
	if route != nil {
		err = errors.Join(err, checkRequest(r, at, route, status))
		err = errors.Join(err, checkDocumented(r, route, status, h))
	}
	if head || status == http.StatusSwitchingProtocols {
		if len(body) > 0 {
			err = errors.Join(err, fmt.Errorf("a body of %d bytes", len(body)))
		}
	} else {
		err = errors.Join(err, d.checkBody(resp, names, h, status, body))
	}
	if err != nil {
		return fmt.Errorf("%s %s: %d: %w", r.Method, r.URL.Path, status, err)
	}
	return nil
}

func (d *Document) find(at *chi.Context, method, path string) *routers.Route {
	pattern := d.routes.Find(at, method, path)
	if pattern == "" {
		return nil
	}
	item := d.api.Paths.Value(pattern)
	return &routers.Route{Spec: d.api, Path: pattern, PathItem: item, Method: method, Operation: item.GetOperation(method)}
}

// description is that of a response. kin-openapi gives each use of a component the
// description of the last one, so it is looked for in the document itself.
func (d *Document) description(path, method, status string) string {
	var node any = d.raw
	for _, key := range []string{"paths", path, strings.ToLower(method), "responses", status} {
		node = object(node)[key]
	}
	response := object(node)
	if s, ok := response["description"].(string); ok {
		return s
	}
	ref, _ := response["$ref"].(string)
	return *d.api.Components.Responses[strings.TrimPrefix(ref, "#/components/responses/")].Value.Description
}

// checkRequest says whether the document lets a request be made that was
// answered well.
func checkRequest(r *http.Request, at *chi.Context, route *routers.Route, status int) error {
	if status >= http.StatusBadRequest {
		return nil
	}
	known := openapi3.NewParameters()
	known = append(append(known, route.PathItem.Parameters...), route.Operation.Parameters...)
	for name := range r.URL.Query() {
		if known.GetByInAndName("query", name) == nil {
			return fmt.Errorf("the document has no parameter %q", name)
		}
	}
	in := &openapi3filter.RequestValidationInput{
		Request: r, Route: route, PathParams: map[string]string{}, Options: &openapi3filter.Options{
			ExcludeRequestBody: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, // the server has looked
		},
	}
	for i, name := range at.URLParams.Keys {
		in.PathParams[name] = at.URLParams.Values[i]
	}
	return openapi3filter.ValidateRequest(r.Context(), in)
}

// checkDocumented checks the headers that the document has.
func checkDocumented(r *http.Request, route *routers.Route, status int, h http.Header) error {
	get := r.Clone(r.Context())
	get.Method = route.Method
	return openapi3filter.ValidateResponse(r.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: get, Route: route},
		Status:                 status, Header: h, Options: &openapi3filter.Options{ExcludeResponseBody: true, IncludeResponseStatus: true},
	})
}

// checkHeaders looks for headers that the document does not have.
func (d *Document) checkHeaders(resp *openapi3.Response, h http.Header, status int) error {
	for name := range h {
		documented := slices.ContainsFunc(slices.Collect(maps.Keys(resp.Headers)), func(n string) bool { return strings.EqualFold(n, name) })
		if !documented && !slices.Contains(unspoken, name) {
			return fmt.Errorf("the document has no header %s: %q", name, h[name])
		}
	}
	if status == http.StatusMethodNotAllowed && h.Get("Allow") == "" {
		return errors.New("no Allow")
	}
	return nil
}

func (d *Document) checkBody(resp *openapi3.Response, names string, h http.Header, status int, body []byte) error {
	mime := h.Get("Content-Type")
	if len(resp.Content) == 0 {
		if len(body) > 0 {
			return fmt.Errorf("a body of %d bytes where the document has none", len(body))
		}
		return nil
	}
	media := resp.Content.Get(mime)
	if media == nil {
		return fmt.Errorf("the document has no Content-Type %q", mime)
	}
	if media.Schema == nil {
		return nil
	}
	var v any = string(body)
	if strings.HasSuffix(mime, "json") {
		if err := json.Unmarshal(body, &v); err != nil {
			return err
		}
		d.mark("", d.schemaOf(media.Schema), v)
	}
	if err := media.Schema.Value.VisitJSON(v, openapi3.EnableJSONSchema2020(), openapi3.VisitAsResponse()); err != nil {
		return fmt.Errorf("%s: %s", strings.Join(brief(err), "; "), body)
	}
	if mime == "application/problem+json" {
		return d.checkProblem(names, status, v)
	}
	return nil
}

// checkProblem says whether the response names the problem, and its table has it
// with that status.
func (d *Document) checkProblem(names string, status int, v any) error {
	p := object(v)
	kind, _ := strings.CutPrefix(fmt.Sprint(p["type"]), "urn:verbatim:problem:")
	d.see("problem %s", kind)
	if !strings.Contains(names, "`"+kind+"`") {
		return fmt.Errorf("the document does not name %s here: %s", kind, names)
	}
	if said := d.kinds[kind]; said != fmt.Sprint(status) || fmt.Sprint(p["status"]) != said {
		return fmt.Errorf("%s has the status %v, the document says %q", kind, p["status"], said)
	}
	return nil
}

// CheckEvent says what is wrong with the data of a server-sent event.
func (d *Document) CheckEvent(kind, data string) error {
	d.see("event %s", kind)
	if err := d.CheckSchema(d.events[kind], []byte(data)); err != nil {
		return fmt.Errorf("event %s: %w", kind, err)
	}
	return nil
}

// CheckSchema says what is wrong with JSON that should be a component of that
// name.
func (d *Document) CheckSchema(name string, data []byte) error {
	schema := d.api.Components.Schemas[name]
	if schema == nil {
		return fmt.Errorf("the document has no schema %q", name)
	}
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	d.mark("", map[string]any{"$ref": componentSchemas + name}, v)
	if err := schema.Value.VisitJSON(v, openapi3.EnableJSONSchema2020(), openapi3.VisitAsResponse()); err != nil {
		return fmt.Errorf("%s: %s", strings.Join(brief(err), "; "), data)
	}
	return nil
}

// brief is what is wrong, without the schemas around it.
func brief(err error) []string {
	var all openapi3.MultiError
	var one *openapi3.SchemaError
	switch {
	case errors.As(err, &one) && one.Origin != nil:
		return brief(one.Origin)
	case errors.As(err, &one):
		return []string{one.Reason}
	case errors.As(err, &all):
		var out []string
		for _, e := range all {
			out = append(out, brief(e)...)
		}
		return out
	}
	return []string{err.Error()}
}
