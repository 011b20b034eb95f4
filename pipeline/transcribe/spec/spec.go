// Package spec reads what --recognizer says: which engine, where it is, its
// options and where its key stands. Keys are never part of it, so that it may
// be shown: they come from the environment or a file.
package spec

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxKey bounds what is read of a key's file.
const maxKey = 4 << 10

// secrets are names of options that would hold a key.
var secrets = []string{"key", "api_key", "apikey", "token", "access_token", "password"}

// ErrForm says that a text names no engine at all.
var ErrForm = errors.New("it is not of the form SCHEME:…")

// Spec is a --recognizer value. Parse makes it.
type Spec struct {
	// Scheme is the engine: what stands before the first colon.
	Scheme string
	// Rest is everything behind that colon, but for the options.
	Rest    string
	options url.Values
	read    []string // options that were asked for
	errs    []error
}

// Parse splits a value of the form SCHEME:REST?option=value&… . For command:
// the options stand first, up to a space, since arguments may hold anything:
// command:?streams=2 PROGRAM ARG…. Errors do not repeat what may be a key.
func Parse(text string) (*Spec, error) {
	scheme, rest, ok := strings.Cut(text, ":")
	if !ok || scheme == "" {
		return nil, ErrForm
	}
	s := &Spec{Scheme: scheme, Rest: rest}
	var query string
	if scheme == "command" {
		if trimmed, ok := strings.CutPrefix(rest, "?"); ok {
			query, s.Rest, _ = strings.Cut(trimmed, " ")
		}
	} else {
		s.Rest, query, _ = strings.Cut(rest, "?")
	}
	var err error
	if s.options, err = url.ParseQuery(query); err != nil {
		return nil, fmt.Errorf("%s: its options are not of the form ?name=value&name=value", scheme)
	}
	if err := noSecret(s.options); err != nil {
		return nil, fmt.Errorf("%s: %w", scheme, err)
	}
	return s, nil
}

func noSecret(options url.Values) error {
	for _, secret := range secrets {
		if options.Has(secret) {
			return fmt.Errorf("a key does not belong on the command line, where others can read it: "+
				"put it into a file and say ?key_file=FILE instead of %s", secret)
		}
	}
	return nil
}

// Endpoint is REST as a URL of the given scheme (http, ws, …). It must name a
// host, and hold neither a key nor a fragment.
func (s *Spec) Endpoint(scheme string) *url.URL {
	return s.check(url.Parse(scheme + ":" + s.Rest))
}

// URL is an option that is a URL of one of the schemes; it must hold what
// Endpoint's must.
func (s *Spec) URL(name, fallback string, schemes ...string) *url.URL {
	u := s.check(url.Parse(s.Option(name, fallback)))
	if u.Host != "" && !slices.Contains(schemes, u.Scheme) {
		s.fail("option %s is a URL of %s, not of %q", name, strings.Join(schemes, " or "), u.Scheme)
	}
	return u
}

// Bare says that the engine has no REST: it is all in the options.
func (s *Spec) Bare() {
	if s.Rest != "" {
		// It is not repeated: it might be a key.
		s.fail("there is no use for what stands before its options: write %s:?option=value", s.Scheme)
	}
}

// check is u if it names a server, and an empty URL if not.
func (s *Spec) check(u *url.URL, err error) *url.URL {
	switch {
	case err != nil:
		// Not what the parser says: it repeats the URL, which may hold a secret.
		s.fail("its URL cannot be read")
	case u.User != nil:
		s.fail("its URL must not hold a password: put that into a file and say ?key_file=FILE")
	case u.Host == "" || u.Hostname() == "":
		s.fail("its URL names no host: write it as …://HOST:PORT")
	case strings.Contains(u.Host+u.Path, ","):
		s.fail("its URL has a comma: a value names one recognizer, the fallback is a --recognizer of its own")
	case noSecret(u.Query()) != nil:
		s.errs = append(s.errs, noSecret(u.Query())) // errors of connections repeat the URL
	case u.Fragment != "":
		s.fail("there is no use for #%s", u.Fragment)
	default:
		return u
	}
	return &url.URL{}
}

// Option is the value of an option, or fallback.
func (s *Spec) Option(name, fallback string) string {
	s.read = append(s.read, name)
	switch values := s.options[name]; {
	case len(values) == 0:
		return fallback
	case len(values) > 1 || values[0] == "":
		s.fail("option %s needs one value", name)
		return fallback
	default:
		return values[0]
	}
}

// Int is an option that is a number of at least least.
func (s *Spec) Int(name string, fallback, least int) int {
	text := s.Option(name, strconv.Itoa(fallback))
	n, err := strconv.Atoi(text)
	if err != nil || n < least {
		s.fail("option %s is a number from %d on, not %q", name, least, text)
		return fallback
	}
	return n
}

// Duration is an option that is a length of time such as 30s, of at least least.
func (s *Spec) Duration(name string, fallback, least time.Duration) time.Duration {
	text := s.Option(name, fallback.String())
	d, err := time.ParseDuration(text)
	if err != nil || d < least {
		s.fail("option %s is a time from %v on, such as 30s, not %q", name, least, text)
		return fallback
	}
	return d
}

// Bool is an option that is true or false.
func (s *Spec) Bool(name string, fallback bool) bool {
	text := s.Option(name, strconv.FormatBool(fallback))
	b, err := strconv.ParseBool(text)
	if err != nil {
		s.fail("option %s is true or false, not %q", name, text)
		return fallback
	}
	return b
}

// Key is where the engine's key stands: the file of option key_file, the
// environment variable of option key_env, or else the one named here.
func (s *Spec) Key(env string, getenv func(string) string) Key {
	k := Key{getenv: getenv, file: s.Option("key_file", ""), env: s.Option("key_env", "")}
	k.named = k.file != "" || k.env != ""
	if k.file != "" && k.env != "" {
		s.fail("there are both key_file and key_env; one is enough")
	}
	if k.file == "" && k.env == "" {
		k.env = env
	}
	return k
}

// Err is what is wrong with the options; it must be called when all that there
// are have been asked for, and says which those are.
func (s *Spec) Err() error {
	errs := slices.Clone(s.errs)
	slices.Sort(s.read)
	known := slices.Compact(s.read)
	for name := range s.options {
		if slices.Contains(known, name) {
			continue
		}
		if len(known) == 0 {
			errs = append(errs, fmt.Errorf("there is no option %q, there are none", name))
			continue
		}
		errs = append(errs, fmt.Errorf("there is no option %q, there are: %s", name, strings.Join(known, ", ")))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%s: %w", s.Scheme, err)
	}
	return nil
}

func (s *Spec) fail(format string, a ...any) { s.errs = append(s.errs, fmt.Errorf(format, a...)) }

// Key is where a secret stands. It is read anew for every use, so that a file
// may be replaced while the server runs.
type Key struct {
	file, env string
	named     bool // by an option
	getenv    func(string) string
}

// String says where the secret stands, and not what it is.
func (k Key) String() string {
	if k.file != "" {
		return "the file " + k.file
	}
	return "the environment variable " + k.env
}

// Read returns the secret, "" and no error where there is none.
func (k Key) Read() (string, error) {
	if k.file == "" {
		return strings.TrimSpace(k.getenv(k.env)), nil
	}
	f, err := os.Open(k.file)
	if err != nil {
		return "", fmt.Errorf("read the key: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxKey+1))
	if err != nil {
		return "", fmt.Errorf("read the key: %w", err)
	}
	secret := strings.TrimSpace(string(b))
	if secret == "" || len(b) > maxKey {
		return "", fmt.Errorf("read the key: %s does not hold one", k.file)
	}
	return secret, nil
}

// Warn tells the log if there is no key although the engine needs one, or an
// option says where it is. That is no reason not to start: what is said until
// there is one waits.
func (k Key) Warn(log *slog.Logger, engine string, needed bool) {
	if !needed && !k.named {
		return
	}
	if _, err := k.Require(); err != nil {
		log.Warn("the recognizer has no key; what is said waits until there is one", "engine", engine, "err", err)
	}
}

// Require is Read for engines that take nobody without a key.
func (k Key) Require() (string, error) {
	secret, err := k.Read()
	if err == nil && secret == "" {
		err = fmt.Errorf("there is no key: put it into the environment variable %s, or into a file and say ?key_file=FILE", k.env)
	}
	return secret, err
}
