// Command promql reads alert rules and Grafana dashboards and says whether
// Prometheus understands the expressions in them. It is a module of its own, as the
// parser's would have the server take newer versions of much that it uses.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v4"
)

func main() {
	var errs []error
	for _, path := range os.Args[1:] {
		n, err := check(path)
		if err == nil && n == 0 {
			err = errors.New("there are no expressions in it")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", path, err))
		}
	}
	if err := errors.Join(errs...); err != nil || len(os.Args) == 1 {
		fmt.Fprintln(os.Stderr, "promql:", err)
		os.Exit(1)
	}
}

// check reads a file and returns how many expressions there are in it.
func check(path string) (n int, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	var doc any
	if strings.HasSuffix(path, ".json") {
		err = json.Unmarshal(b, &doc)
	} else {
		err = yaml.Unmarshal(b, &doc)
	}
	if err != nil {
		return 0, err
	}
	p := parser.NewParser(parser.Options{})
	var errs []error
	each(doc, func(text string) {
		n++
		if _, err := p.ParseExpr(grafana.Replace(text)); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", text, err))
		}
	})
	return n, errors.Join(errs...)
}

// grafana stands in for what Grafana puts in.
var grafana = strings.NewReplacer("$__rate_interval", "1m", "$__range", "1h", "$instance", ".*")

// each finds all that stands under the key expr.
func each(v any, found func(string)) {
	switch v := v.(type) {
	case map[string]any:
		for key, x := range v {
			if text, ok := x.(string); ok && key == "expr" {
				found(text)
			}
			each(x, found)
		}
	case []any:
		for _, x := range v {
			each(x, found)
		}
	}
}
