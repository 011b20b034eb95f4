package config

import (
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Stray is a variable of the environment that nothing reads.
type Stray struct {
	Name  string
	Meant string // the one that may be meant, "" if none is like it
}

// serviceLink is what Kubernetes sets in every container for a service of such a
// name: VERBATIM_PORT, VERBATIM_PORT_8080_TCP_ADDR, VERBATIM_SERVICE_PORT_HTTP.
var serviceLink = regexp.MustCompile(`_SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)$|_PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?$`)

// Strays are the variables of environ (KEY=VALUE) that begin with prefix and are no
// flag's, of whichever command, nor among others.
func Strays(app *kong.Node, environ []string, prefix string, others ...string) (strays []Stray) {
	known := variables(app, slices.Clone(others))
	for _, each := range environ {
		name, _, _ := strings.Cut(each, "=")
		rest, ours := strings.CutPrefix(name, prefix)
		if !ours || slices.Contains(known, name) || serviceLink.MatchString(name) {
			continue
		}
		var short []string
		for _, k := range known {
			short = append(short, strings.TrimPrefix(k, prefix))
		}
		s := Stray{Name: name, Meant: nearest(rest, short)}
		if s.Meant != "" {
			s.Meant = prefix + s.Meant
		}
		strays = append(strays, s)
	}
	slices.SortFunc(strays, func(a, b Stray) int { return strings.Compare(a.Name, b.Name) })
	return strays
}

// variables adds those of a command and of all below it.
func variables(of *kong.Node, to []string) []string {
	for _, f := range of.Flags {
		to = append(to, f.Envs...)
	}
	for _, child := range of.Children {
		to = variables(child, to)
	}
	return to
}
