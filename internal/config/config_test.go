package config

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

type flagsOfTest struct {
	File   File          `embed:""`
	Listen string        `default:"127.0.0.1:8080"`
	Engine []string      `sep:"none" default:"none:"`
	Kinds  []string      `enum:"one,two" default:"one"`
	Wait   time.Duration `default:"1m"`
	Red    bool
	Direct bool `default:"true" negatable:""`
	Count  int
	Ratio  float64
	Later  Later `embed:"" prefix:"later-"`
}

// Later stands for flags that others add, which know nothing of this package.
type Later struct {
	DB   string   `secret:""`
	Hook []string `sep:"none" secret:"path"`
	ICE  []string `secret:"url"`
}

type app struct {
	Serve    flagsOfTest `cmd:""`
	LogLevel slog.Level  `default:"info"`
}

func parse(t *testing.T, yaml string, args ...string) (*flagsOfTest, *kong.Context, error) {
	t.Helper()
	var a app
	k, err := kong.New(&a, kong.Name("t"), kong.DefaultEnvars("TESTCONFIG"), kong.Exit(func(int) { t.Fatal("exit") }))
	if err != nil {
		t.Fatal(err)
	}
	args = append([]string{"serve"}, args...)
	if yaml != "" {
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", path)
	}
	ctx, err := k.Parse(args)
	return &a.Serve, ctx, err
}

func TestPrecedence(t *testing.T) {
	const yaml = "listen: file\nengine: [\"a:\", \"b:x,y\"]\nwait: 5s\ndirect: false\ncount: 7\nratio: 1\nlog-level: debug\n"
	t.Setenv("TESTCONFIG_LISTEN", "environment")
	t.Setenv("TESTCONFIG_WAIT", "6s")
	got, ctx, err := parse(t, yaml, "--wait", "7s", "--red")
	if err != nil {
		t.Fatal(err)
	}
	if got.Listen != "environment" || got.Wait != 7*time.Second || strings.Join(got.Engine, " ") != "a: b:x,y" || got.Direct || got.Count != 7 || got.Ratio != 1 || !got.Red {
		t.Errorf("%+v", got)
	}
	var b bytes.Buffer
	if err := Print(&b, ctx); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`listen: "environment" # environment: TESTCONFIG_LISTEN`, "engine: # file: line 2\n  - \"a:\"\n  - \"b:x,y\"\n", "wait: 7s # flag",
		"direct: false # file: line 4", "kinds: # default", "red: true # flag", "log-level: debug # file: line 7", "later-hook: [] # default",
	} {
		if !strings.Contains(b.String(), line) {
			t.Errorf("no %q in\n%s", line, b.String())
		}
	}
	// What is printed can be read, and is the same then.
	again, _, err := parse(t, b.String())
	if err != nil {
		t.Fatal(err)
	}
	if again.Count != 7 || again.Direct || strings.Join(again.Engine, " ") != "a: b:x,y" {
		t.Errorf("what was printed reads as %+v", again)
	}
}

// The file may be named by the environment, too.
func TestFileFromEnvironment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte("count: 3"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TESTCONFIG_CONFIG", path)
	if got, _, err := parse(t, ""); err != nil || got.Count != 3 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestRefused(t *testing.T) {
	for name, c := range map[string]struct{ yaml, want string }{
		"unknown":       {"\nlistne: x", "c.yaml:2: there is no flag --listne; did you mean listen?"},
		"underscore":    {"later_db: x", "did you mean later-db?"},
		"unlike any":    {"completely-other: x", "--help lists them"},
		"the file":      {"config: x", "no flag --config"},
		"twice":         {"count: 1\nred: true\ncount: 1", "c.yaml:3: count stands in line 1, too"},
		"no list":       {"engine: none", "c.yaml:1: engine: want a list"},
		"list":          {"listen: [a]", "c.yaml:1: listen: want one value"},
		"map in list":   {"engine:\n  - a: b", "engine: element 1: want one value"},
		"number":        {"count: many", "c.yaml:1: count: "},
		"bool":          {"red: yes please", "red: want true or false"},
		"bool quoted":   {`red: "true"`, "red: want true or false"},
		"ratio":         {"ratio: all", "ratio: want a number"},
		"duration":      {"wait: 12", "wait: want a duration such as 90s"},
		"no duration":   {"wait: long", "c.yaml:1: wait: "},
		"text":          {"listen: 8080", "listen: want a text: put it into quotes"},
		"nothing":       {"listen:", "listen: there is no value"},
		"enum":          {"kinds: [one, three]", `kinds: "three" is none of one, two`},
		"level":         {"log-level: loud", "log-level: "},
		"syntax":        {"listen: none:\nred: true", "c.yaml: yaml: "},
		"scalar":        {"listen", "c.yaml:1: want lines of the form"},
		"alias":         {"listen: &a x\nlater-db: *a", "later-db: want one value"},
		"two documents": {"count: 1\n---\ncount: 2", "more than one document"},
		"all at once":   {"red: 1\ncount: x", "c.yaml:2: count"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := parse(t, c.yaml); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	if _, _, err := parse(t, "", "--config", "/nowhere.yaml"); err == nil || !strings.Contains(err.Error(), "--config: ") {
		t.Errorf("%v", err)
	}
	for _, empty := range []string{"# nothing\n", "---\n", "null"} {
		if _, _, err := parse(t, empty); err != nil {
			t.Errorf("%q: %v", empty, err)
		}
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	_, ctx, err := parse(t, "later-db: postgres://u:SECRET@h/db\nlater-hook: [\"https://h/SECRET\"]\nlater-ice: [\"turn:h?username=SECRET&credential=SECRET\"]\nengine: [\"x+http://SECRET@h/v1?model=m\"]")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := Print(&b, ctx); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "SECRET") || strings.Count(b.String(), Set) != 5 || !strings.Contains(b.String(), "model=m") {
		t.Error(b.String())
	}
	if _, _, err := parse(t, "later-db: [SECRET]"); err == nil || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("%v", err)
	}
}

func TestRedact(t *testing.T) {
	for text, want := range map[string]string{
		"":               "",
		"none:":          "none:",
		"127.0.0.1:8080": "127.0.0.1:8080",
		"[::1]:8080":     "[::1]:8080",
		":8080":          ":8080",
		"./data":         "./data",
		"openai+http://h:1/v1?model=m&language=en&key_file=/k": "openai+http://h:1/v1?model=m&language=en&key_file=/k",
		"openai+http://h/v1?api_key=S":                         "openai+http://h/v1?api_key=(set)",
		"openai+http://h/v1?S":                                 "openai+http://h/v1?(set)",
		"https://u:S@h/x#S":                                    "https://(set)@h/x#(set)",
		"postgres://u:S?S@h/db?sslpassword=S":                  "postgres://(set)@h/db?sslpassword=(set)",
		"postgres://u:S/S#S@h/db":                              "postgres://(set)@h/db",
		"nats://S@h:4222":                                      "nats://(set)@h:4222",
		"host=h password=S":                                    "(set)",
		"turn:h?username=S&credential=S&transport=udp":         "turn:h?username=(set)&credential=(set)&transport=udp",
		"command:prog":                                         "command:prog",
		"command:?streams=2 prog --api-key S":                  "command:?streams=2 prog (set)",
	} {
		if got := Redact(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}

// Variables that nothing reads are found, with what was meant; those of other
// commands, and what Kubernetes sets for a service, are none of them.
func TestStrays(t *testing.T) {
	var a app
	k, err := kong.New(&a, kong.DefaultEnvars("TC"))
	if err != nil {
		t.Fatal(err)
	}
	got := Strays(k.Model.Node, []string{
		"TC_LISTEN=x", "TC_LOG_LEVEL=x", "TC_LATER_DB=x", "TC_ELSE=x", "PATH=x", "TCX=x",
		"TC_PORT=tcp://10.0.0.1:80", "TC_PORT_80_TCP=x", "TC_PORT_80_TCP_ADDR=x", "TC_SERVICE_HOST=x", "TC_NODES_SERVICE_PORT_HTTP=x",
		"TC_LOGLEVEL=x", "TC_LISTN=x", "TC_COMPLETELY_DIFFERENT=x",
	}, "TC_", "TC_ELSE")
	want := []Stray{{"TC_COMPLETELY_DIFFERENT", ""}, {"TC_LISTN", "TC_LISTEN"}, {"TC_LOGLEVEL", "TC_LOG_LEVEL"}}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
