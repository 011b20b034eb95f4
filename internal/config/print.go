package config

import (
	"bytes"
	"encoding"
	"fmt"
	"io"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v4"
)

// Set stands for a secret that there is.
const Set = "(set)"

// Print writes what every flag that can stand in a file is, as YAML, and where it
// comes from as a comment. Secrets are Set.
func Print(w io.Writer, ctx *kong.Context) error {
	from := sources(ctx)
	top := &yaml.Node{Kind: yaml.MappingNode}
	for _, f := range Keys(ctx) {
		key := &yaml.Node{Kind: yaml.ScalarNode, Value: f.Name}
		v := shown(f)
		if v.Kind == yaml.SequenceNode && len(v.Content) > 0 {
			key.LineComment = from(f)
		} else {
			v.LineComment = from(f)
		}
		top.Content = append(top.Content, key, v)
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(top); err != nil {
		return err
	}
	if err := e.Close(); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

// sources says where a flag's value comes from.
func sources(ctx *kong.Context) func(*kong.Flag) string {
	var f file
	_, _ = ctx.Call(func(loaded file) { f = loaded }) // BeforeResolve has bound it
	return func(flag *kong.Flag) string {
		given := slices.ContainsFunc(ctx.Path, func(p *kong.Path) bool { return p.Flag == flag && !p.Resolved })
		name, set := env(flag)
		v, inFile := f.values[flag.Name]
		switch {
		case given:
			return "flag"
		case set:
			return "environment: " + name
		case inFile:
			return fmt.Sprintf("file: line %d", v.line)
		}
		return "default"
	}
}

// shows is how a flag's value is shown, and whether it is a secret at all.
func shows(f *kong.Flag) (how func(string) string, secret bool) {
	switch {
	case f.Tag == nil || !f.Tag.Has("secret"):
		return Redact, false
	case f.Tag.Get("secret") == "path":
		return redactPath, true
	case f.Tag.Get("secret") == "url":
		return Redact, true
	}
	return func(s string) string {
		if s == "" {
			return ""
		}
		return Set
	}, true
}

func shown(f *kong.Flag) *yaml.Node {
	how, _ := shows(f)
	if !f.IsSlice() {
		return node(f.Target, how)
	}
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for i := range f.Target.Len() {
		list.Content = append(list.Content, node(f.Target.Index(i), how))
	}
	if len(list.Content) == 0 {
		list.Style = yaml.FlowStyle
	}
	return list
}

func node(v reflect.Value, how func(string) string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode}
	switch x := v.Interface().(type) {
	case time.Duration:
		n.Value = x.String()
		return n
	case encoding.TextMarshaler:
		b, _ := x.MarshalText() // of a level: never fails
		n.Value = strings.ToLower(string(b))
		return n
	}
	if v.Kind() != reflect.String {
		n.Value = fmt.Sprint(v.Interface())
		return n
	}
	n.SetString(how(v.String()))
	n.Style = yaml.DoubleQuotedStyle
	return n
}

// secretNames are parts of the names of options that hold secrets.
var secretNames = []string{"key", "token", "secret", "pass", "pwd", "credential", "sig", "auth", "user"}

// Redact is text for people to see: of URLs and of command lines, what may be a
// secret is left out.
func Redact(text string) string {
	if rest, ok := strings.CutPrefix(text, "command:"); ok {
		words := strings.Fields(rest)
		if n := slices.IndexFunc(words, func(w string) bool { return !strings.HasPrefix(w, "?") }); n >= 0 && n+1 < len(words) {
			return "command:" + strings.Join(words[:n+1], " ") + " " + Set
		}
		return text
	}
	scheme, rest, ok := strings.Cut(text, ":")
	if !ok || strings.ContainsAny(scheme, " /=@") {
		if containsSecretName(text) && strings.ContainsAny(text, "=") {
			return Set // such as a database's host=… password=…
		}
		return text
	}
	// Before all else: a password may hold a ? or a # that ought to be encoded.
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		slashes := ""
		if strings.HasPrefix(rest, "//") {
			slashes = "//"
		}
		rest = slashes + Set + rest[at:]
	}
	rest, fragment, hasFragment := strings.Cut(rest, "#")
	rest, query, hasQuery := strings.Cut(rest, "?")
	out := scheme + ":" + rest
	if hasQuery {
		out += "?" + redactQuery(query)
	}
	if hasFragment && fragment != "" {
		out += "#" + Set
	}
	return out
}

func redactQuery(query string) string {
	parts := strings.Split(query, "&")
	for i, p := range parts {
		name, _, has := strings.Cut(p, "=")
		plain, err := url.QueryUnescape(name)
		if !has || err != nil {
			parts[i] = Set // without a name it may be anything
			continue
		}
		if containsSecretName(plain) && !strings.HasSuffix(plain, "_file") {
			parts[i] = name + "=" + Set
		}
	}
	return strings.Join(parts, "&")
}

func containsSecretName(text string) bool {
	text = strings.ToLower(text)
	return slices.ContainsFunc(secretNames, func(s string) bool { return strings.Contains(text, s) })
}

// redactPath leaves the scheme and the host.
func redactPath(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return Set
	}
	if u.Path == "" && u.RawQuery == "" && u.User == nil && u.Fragment == "" {
		return text
	}
	return u.Scheme + "://" + u.Host + "/" + Set
}
