// Package config gives a command's flags a YAML file beside the command line and
// the environment: every flag is a key of the file by its own name. It needs
// nothing from the flags themselves, so that one that is added later has its key.
//
// What counts is, in this order: the flag, the environment, the file, the default.
//
// A flag that holds a secret says so by a struct tag, for Print: `secret:""` for
// one whose value is never shown, `secret:"path"` for a URL of which the scheme and
// the host may be, `secret:"url"` for one that is shown as Redact shows it. What is
// wrong with their values is told without them. Of all others Redact takes out what looks like a secret.
package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v4"
)

// maxFile bounds what is read of a file.
const maxFile = 1 << 20

// File is embedded by a command whose flags can stand in a file.
type File struct {
	Config string `help:"YAML file with flags by their names; flags and the environment come before it (docs/verbatim.example.yaml)." type:"path" placeholder:"FILE"`
}

// BeforeResolve is called by kong, once it knows where the file is.
func (*File) BeforeResolve(ctx *kong.Context) error {
	var path string
	for _, f := range flags(ctx) {
		if f.Name == "config" {
			path, _ = ctx.FlagValue(f).(string)
		}
	}
	var values file
	var err error
	if path != "" {
		if values, err = read(path, flags(ctx)); err != nil {
			return err
		}
		ctx.AddResolver(values)
	}
	ctx.Bind(values) // for Print
	return nil
}

// flags are those of the command that runs and of what is above it.
func flags(ctx *kong.Context) (all []*kong.Flag) {
	for n := ctx.Selected(); n != nil; n = n.Parent {
		all = append(all, n.Flags...)
	}
	return all
}

// Keys are the flags that can stand in a file, in the order of --help.
func Keys(ctx *kong.Context) []*kong.Flag { return keys(flags(ctx)) }

func keys(all []*kong.Flag) []*kong.Flag {
	return slices.DeleteFunc(slices.Clone(all), func(f *kong.Flag) bool {
		return f.Name == "help" || f.Name == "version" || f.Name == "config"
	})
}

// file is what was read: it implements kong.Resolver.
type file struct {
	path   string
	values map[string]value
}

type value struct {
	line  int
	value any // what kong takes: string, bool, or []any of strings
}

// Validate implements kong.Resolver; read has done it.
func (file) Validate(*kong.Application) error { return nil }

// Resolve implements kong.Resolver. kong asks for flags that are not on the
// command line, and would have the answer before the environment.
func (f file) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	v, ok := f.values[flag.Name]
	if _, set := env(flag); !ok || set {
		return nil, nil
	}
	if v.value == "" && flag.Default == "" {
		return nil, nil // of a path, kong would make the working directory
	}
	return v.value, nil
}

// env is the variable that sets a flag.
func env(flag *kong.Flag) (name string, set bool) {
	for _, name := range flag.Envs {
		if _, ok := os.LookupEnv(name); ok {
			return name, true
		}
	}
	return "", false
}

// read reads a file; its errors name all that is wrong in it, each with its place.
func read(path string, all []*kong.Flag) (f file, err error) {
	f = file{path: path, values: map[string]value{}}
	in, err := os.Open(path)
	if err != nil {
		return f, fmt.Errorf("--config: %w", err)
	}
	defer in.Close()
	b, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	if err != nil {
		return f, fmt.Errorf("--config: %w", err)
	}
	if len(b) > maxFile {
		return f, fmt.Errorf("%s: is larger than a configuration can be (%d bytes)", path, maxFile)
	}
	d := yaml.NewDecoder(strings.NewReader(string(b)))
	var doc, more yaml.Node
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return f, nil // empty, or comments alone
	case err != nil:
		return f, fmt.Errorf("%s: %w; a value with a colon at its end, a # or a * in it wants quotes", path, err)
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return f, fmt.Errorf("%s: there is more than one document (---) in it; keep one", path)
	}
	top := doc.Content[0]
	if top.Tag == "!!null" {
		return f, nil
	}
	if top.Kind != yaml.MappingNode {
		return f, fmt.Errorf("%s:%d: want lines of the form FLAG: VALUE", path, top.Line)
	}
	var errs []error
	for i := 0; i < len(top.Content); i += 2 {
		if err := f.add(top.Content[i], top.Content[i+1], keys(all)); err != nil {
			errs = append(errs, fmt.Errorf("%s:%d: %w", path, top.Content[i].Line, err))
		}
	}
	return f, errors.Join(errs...)
}

// add takes in one key.
func (f file) add(key, node *yaml.Node, known []*kong.Flag) error {
	name := key.Value
	i := slices.IndexFunc(known, func(k *kong.Flag) bool { return k.Name == name })
	if i < 0 {
		return fmt.Errorf("there is no flag --%s%s", name, meant(name, known))
	}
	if before, twice := f.values[name]; twice {
		return fmt.Errorf("%s stands in line %d, too: keep one of them", name, before.line)
	}
	v, err := scalarOrList(node, known[i])
	if err == nil {
		err = try(v, known[i])
	}
	f.values[name] = value{line: key.Line, value: v} // though it may be wrong: for what comes twice
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func scalarOrList(node *yaml.Node, flag *kong.Flag) (any, error) {
	if !flag.IsSlice() {
		return scalar(node, flag.Target.Type())
	}
	if node.Kind != yaml.SequenceNode {
		return nil, errors.New("want a list, each element in a line of its own that begins with a dash, or [] for none")
	}
	list := []any{}
	for _, n := range node.Content {
		v, err := scalar(n, flag.Target.Type().Elem())
		if err != nil {
			return nil, fmt.Errorf("element %d: %w", len(list)+1, err)
		}
		list = append(list, v)
	}
	return list, nil
}

// scalar is a value as kong takes it, if it is of the kind that the flag has.
func scalar(node *yaml.Node, to reflect.Type) (any, error) {
	if node.Kind != yaml.ScalarNode {
		return nil, errors.New("want one value")
	}
	is := node.ShortTag()
	if is == "!!null" {
		return nil, errors.New("there is no value: give one, or remove the line to have the default")
	}
	var want []string
	text := "want a text: put it into quotes"
	switch kind := to.Kind(); {
	case to == reflect.TypeFor[time.Duration]():
		want, text = []string{"!!str"}, "want a duration such as 90s, 5m or 24h"
		if node.Value == "0" {
			return "0s", nil
		}
	case kind == reflect.Bool:
		want, text = []string{"!!bool"}, "want true or false"
	case reflect.Int <= kind && kind <= reflect.Uint64 && !reflect.PointerTo(to).Implements(reflect.TypeFor[interface{ UnmarshalText([]byte) error }]()):
		want, text = []string{"!!int", "!!str"}, "want a number"
	case kind == reflect.Float32 || kind == reflect.Float64:
		want, text = []string{"!!int", "!!float"}, "want a number"
	default:
		want = []string{"!!str"}
	}
	if !slices.Contains(want, is) {
		return nil, errors.New(text)
	}
	if is == "!!bool" {
		return strings.EqualFold(node.Value, "true"), nil
	}
	return node.Value, nil
}

// try has kong read a value, so that what is wrong is told with its line.
func try(v any, flag *kong.Flag) error {
	target := reflect.New(flag.Target.Type()).Elem()
	err := flag.Mapper.Decode(&kong.DecodeContext{Value: flag.Value, Scan: kong.Scan().PushTyped(v, kong.FlagValueToken)}, target)
	if _, secret := shows(flag); err != nil && secret {
		return errors.New("the value cannot be read") // errors repeat it
	}
	if err != nil {
		return err
	}
	if flag.Enum == "" {
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	for _, e := range list {
		if s, ok := e.(string); ok && !flag.EnumMap()[s] {
			return fmt.Errorf("%q is none of %s", s, strings.Join(flag.EnumSlice(), ", "))
		}
	}
	return nil
}

// meant guesses which flag was meant.
func meant(name string, known []*kong.Flag) string {
	var names []string
	for _, f := range known {
		names = append(names, f.Name)
	}
	best := nearest(strings.ReplaceAll(name, "_", "-"), names)
	if best == "" {
		return "; verbatim serve --help lists them"
	}
	return "; did you mean " + best + "?"
}

// nearest is the one of names that is most like name, "" if none is like it.
func nearest(name string, names []string) (best string) {
	far := 1 + len(name)/3
	for _, n := range names {
		if d := distance(name, n); d < far || (d == far && best == "") {
			best, far = n, d
		}
	}
	return best
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
