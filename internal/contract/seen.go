package contract

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

const componentSchemas = "#/components/schemas/"

func (d *Document) see(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen[fmt.Sprintf(format, args...)] = true
}

// schemaOf is a schema as plain JSON.
func (d *Document) schemaOf(s *openapi3.SchemaRef) map[string]any {
	if s.Ref != "" {
		return map[string]any{"$ref": s.Ref}
	}
	var m map[string]any
	if b, err := json.Marshal(s); err == nil {
		_ = json.Unmarshal(b, &m) // it came from there
	}
	return m
}

// resolve follows a reference to a component.
func (d *Document) resolve(at string, schema map[string]any) (string, map[string]any) {
	for {
		ref, ok := schema["$ref"].(string)
		if !ok {
			return at, schema
		}
		at = strings.TrimPrefix(ref, componentSchemas)
		schema = object(d.components()[at])
	}
}

func (d *Document) components() map[string]any {
	return object(object(d.raw["components"])["schemas"])
}

// object is a value as one, nil if it is none.
func object(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

// mark notes which properties a value has.
func (d *Document) mark(at string, schema map[string]any, v any) {
	at, schema = d.resolve(at, schema)
	d.parts(schema, func(part map[string]any) { d.mark(at, part, v) })
	switch v := v.(type) {
	case map[string]any:
		props := object(schema["properties"])
		for name, value := range v {
			if sub, ok := props[name].(map[string]any); ok {
				d.see("%s.%s", at, name)
				d.mark(at+"."+name, sub, value)
			}
		}
	case []any:
		if items, ok := schema["items"].(map[string]any); ok {
			for _, value := range v {
				d.mark(at, items, value)
			}
		}
	}
}

// parts are those of an allOf or anyOf.
func (d *Document) parts(schema map[string]any, each func(map[string]any)) {
	for _, key := range []string{"allOf", "anyOf"} {
		list, _ := schema[key].([]any)
		for _, part := range list {
			each(object(part))
		}
	}
}

// Unseen is what the document promises and no answer had by now: operations with
// a status, properties of components ("Meeting.id"), events, types of problems.
func (d *Document) Unseen() []string {
	all := map[string]bool{}
	for path, item := range d.api.Paths.Map() {
		for method, op := range item.Operations() {
			for status := range op.Responses.Map() {
				if status != "default" {
					all[method+" "+path+" "+status] = true
				}
			}
		}
	}
	for name, schema := range d.components() {
		d.declared(name, object(schema), all)
	}
	for kind := range d.kinds {
		all["problem "+kind] = true
	}
	for kind := range d.events {
		all["event "+kind] = true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(all, func(key string, _ bool) bool { return d.seen[key] })
	return slices.Sorted(maps.Keys(all))
}

// declared collects the properties of a component, but not of those that it
// refers to.
func (d *Document) declared(at string, schema map[string]any, all map[string]bool) {
	if schema["$ref"] != nil {
		return
	}
	d.parts(schema, func(part map[string]any) { d.declared(at, part, all) })
	props := object(schema["properties"])
	for name, sub := range props {
		all[at+"."+name] = true
		d.declared(at+"."+name, object(sub), all)
	}
	if items, ok := schema["items"].(map[string]any); ok {
		d.declared(at, items, all)
	}
}
