package main

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v4"
)

const root = "../../"

// commandLine is what kong knows of the program's.
func commandLine(t *testing.T) *kong.Kong {
	t.Helper()
	var c cli
	k, err := kong.New(&c, kong.DefaultEnvars("VERBATIM"), kong.Vars{"version": version(), "audience": defaultAudience}, kong.Exit(func(int) { t.Error("it exits") }))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Every flag and variable that a file for deployment names, in comments as well, is
// one that the program has.
func TestDeployNamesFlags(t *testing.T) {
	flags := map[string]bool{"help": true}
	variables := map[string]bool{authSecret: true, "VERBATIM_WEBHOOK_SECRET": true} // which are no flags
	for nodes := []*kong.Node{commandLine(t).Model.Node}; len(nodes) > 0; nodes = nodes[1:] {
		for _, f := range nodes[0].Flags {
			flags[f.Name] = true
			for _, v := range f.Envs {
				variables[v] = true
			}
		}
		nodes = append(nodes, nodes[0].Children...)
	}
	if !flags["listen"] || !variables["VERBATIM_LISTEN"] {
		t.Fatal("the flags are not what was expected")
	}
	// What other programs are told: git, docker, nats-server, curl, kubectl, systemctl, and
	// the Dockerfile's own.
	others := []string{"tags", "always", "build-arg", "platform", "from", "chown", "interval", "timeout", "start-period", "jetstream", "store_dir", "http_port", "fail", "silent", "show-error", "max-time", "output",
		"cap-drop", "from-literal", "network", "now", "read-only", "security-opt", "stop-timeout"}
	variable, flag := regexp.MustCompile(`VERBATIM_[A-Z0-9_]+`), regexp.MustCompile(`(?:^|[\s"'(\x60\[])--([a-z][a-z0-9_-]*)`)
	seen := 0
	check := func(path string) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range variable.FindAllString(string(b), -1) {
			seen++
			if !variables[v] {
				t.Errorf("%s names %s, which nothing reads", path, v)
			}
		}
		for _, f := range flag.FindAllStringSubmatch(string(b), -1) {
			seen++
			if name := strings.TrimPrefix(f[1], "no-"); !flags[name] && !flags[f[1]] && !slices.Contains(others, f[1]) {
				t.Errorf("%s names --%s, which verbatim does not have", path, f[1])
			}
		}
	}
	check(root + "Dockerfile")
	check(root + "docs/PACKAGES.md")
	err := filepath.WalkDir(root+"deploy", func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && d.Name() == "secrets" {
			return fs.SkipDir
		}
		if err == nil && d.Type().IsRegular() && filepath.Ext(path) != ".json" {
			check(path)
		}
		return err
	})
	if err != nil || seen < 50 {
		t.Errorf("%d names were seen, %v", seen, err)
	}
}

// deployment is a server as a file has it started.
type deployment struct {
	env   map[string]string
	args  []string          // of the program
	files map[string]string // by their paths
	grace time.Duration     // between being asked to end and being killed
}

// check has `config check` look at it, with its files in a folder, and compares the
// grace with what a shutdown may take.
func (d *deployment) check(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	within := func(text string) string {
		for _, at := range []string{"/run/", "/etc/verbatim/", "/var/lib/", "/data"} {
			text = strings.ReplaceAll(text, at, dir+at)
		}
		return text
	}
	for path, text := range d.files {
		path = within(path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(within(text)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if len(d.args) == 0 || d.args[0] != "serve" {
		t.Fatalf("it runs verbatim %q", d.args)
	}
	run := func(what string) string {
		t.Helper()
		cmd := verbatim(t.Context(), append([]string{"config", what}, d.args[1:]...)...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), beVerbatim + "=1"}
		for k, v := range d.env {
			cmd.Env = append(cmd.Env, k+"="+within(v))
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("config %s: %v: %s", what, err, out)
		}
		return string(out)
	}
	run("check")
	var has map[string]any
	if err := yaml.Unmarshal([]byte(run("print")), &has); err != nil {
		t.Fatal(err)
	}
	least := 10 * time.Second
	for _, key := range []string{"drain-delay", "drain-move", "drain"} {
		text, _ := has[key].(string)
		each, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		least += each
	}
	if d.grace < least || d.grace > 2*least {
		t.Errorf("it is killed after %v; a shutdown wants %v", d.grace, least)
	}
	if got, _ := has["data"].(string); !strings.Contains(got, "data") && !strings.Contains(got, "/var/lib/verbatim") {
		t.Errorf("it keeps everything in %q", got)
	}
}

const someSecret = "0123456789abcdef0123456789abcdef0123456789abcdef"

// image is what the Dockerfile says of the server.
func image(t *testing.T) *deployment {
	t.Helper()
	b, err := os.ReadFile(root + "Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	d := &deployment{env: map[string]string{}}
	for line := range strings.Lines(string(b)) {
		what, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch what {
		case "ENV":
			d.setenv(rest)
		case "CMD":
			if err := json.Unmarshal([]byte(rest), &d.args); err != nil {
				t.Fatal(err)
			}
		case "HEALTHCHECK":
			var test []string
			if _, list, ok := strings.Cut(rest, "CMD "); !ok || json.Unmarshal([]byte(list), &test) != nil {
				t.Fatalf("HEALTHCHECK %s", rest)
			}
			parses(t, test)
		}
	}
	return d
}

// setenv takes variables as in KEY=VALUE KEY=VALUE.
func (d *deployment) setenv(text string) {
	for _, each := range strings.Fields(text) {
		k, v, _ := strings.Cut(each, "=")
		d.env[k] = v
	}
}

// parses checks a command line of verbatim.
func parses(t *testing.T, command []string) {
	t.Helper()
	if len(command) < 2 || command[0] != "/usr/bin/verbatim" {
		t.Fatalf("not a command of the image: %q", command)
	}
	if _, err := commandLine(t).Parse(command[1:]); err != nil {
		t.Errorf("%q: %v", command, err)
	}
}

func TestDeployImage(t *testing.T) {
	d := image(t)
	d.grace = 45 * time.Second
	d.env["VERBATIM_RECOGNIZER"] = "none:"
	d.check(t)
}

// A recognizer is somebody else's program, and NATS of compose.yaml has no password:
// whoever reaches it hears all that is said, and tells what nobody has said.
func TestDeployComposeNetworks(t *testing.T) {
	b, err := os.ReadFile(root + "deploy/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Services map[string]struct{ Networks []string }
		Networks map[string]struct{ Internal bool }
	}
	if err := yaml.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	for _, guarded := range []string{"nats", "postgres"} {
		if len(c.Services[guarded].Networks) == 0 {
			t.Errorf("%s is in the default network", guarded)
		}
		for _, network := range c.Services[guarded].Networks {
			if !c.Networks[network].Internal {
				t.Errorf("%s is in the network %s, which leads outside", guarded, network)
			}
			for name, s := range c.Services {
				if slices.Contains(s.Networks, network) && !slices.Contains([]string{"nats", "postgres", "verbatim"}, name) {
					t.Errorf("%s reaches %s", name, guarded)
				}
			}
		}
	}
}

func TestDeployCompose(t *testing.T) {
	b, err := os.ReadFile(root + "deploy/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Services map[string]struct {
			Environment map[string]string
			Command     []string
			Secrets     []string
			Restart     string
			Healthcheck struct{ Test []string }
			Grace       string `yaml:"stop_grace_period"`
		}
		Secrets map[string]any
	}
	text := strings.NewReplacer("${DOMAIN:?the name by which browsers find this machine}", "meet.example.org",
		"${PUBLIC_IP:?the address by which browsers find this machine}", "203.0.113.5").Replace(string(b))
	if err := yaml.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	v := c.Services["verbatim"]
	d := image(t)
	d.files = map[string]string{}
	for k, value := range v.Environment {
		if strings.Contains(value, "$") {
			t.Errorf("%s is %q", k, value)
		}
		d.env[k] = value
	}
	if v.Command != nil {
		d.args = v.Command
	}
	for _, name := range v.Secrets {
		d.files["/run/secrets/"+name] = someSecret
	}
	if d.grace, err = time.ParseDuration(v.Grace); err != nil {
		t.Fatal(err)
	}
	d.check(t)
	parses(t, v.Healthcheck.Test[1:])
	for name, s := range c.Services {
		if s.Restart == "" || (len(s.Healthcheck.Test) == 0 && name != "model") {
			t.Errorf("%s: restart %q, healthcheck %q", name, s.Restart, s.Healthcheck.Test)
		}
	}
}

func TestDeployKubernetes(t *testing.T) {
	type object struct {
		Kind     string
		Metadata struct{ Name string }
		Data     map[string]string
		Spec     yaml.Node
	}
	var set struct {
		Replicas int
		Template struct {
			Spec struct {
				Grace      int `yaml:"terminationGracePeriodSeconds"`
				Containers []struct {
					Args []string
					Env  []struct {
						Name, Value string
						ValueFrom   struct {
							FieldRef     struct{ FieldPath string } `yaml:"fieldRef"`
							SecretKeyRef struct{ Name, Key string } `yaml:"secretKeyRef"`
						} `yaml:"valueFrom"`
					}
				}
			}
		}
	}
	config, services := map[string]string{}, map[string]bool{}
	for _, name := range []string{"config", "statefulset", "services"} {
		b, err := os.ReadFile(root + "deploy/kubernetes/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		for doc := range strings.SplitSeq(string(b), "\n---\n") {
			var o object
			if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
				t.Fatal(err)
			}
			switch o.Kind {
			case "ConfigMap":
				config = o.Data
			case "Service":
				services[o.Metadata.Name] = true
			case "StatefulSet":
				if err := o.Spec.Decode(&set); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if set.Replicas != len(config) || len(set.Template.Spec.Containers) != 1 {
		t.Fatalf("%d pods have %d files; containers: %+v", set.Replicas, len(config), set.Template.Spec.Containers)
	}
	for file, text := range config {
		pod := strings.TrimSuffix(file, ".yaml")
		t.Run(pod, func(t *testing.T) {
			d := image(t)
			d.args = set.Template.Spec.Containers[0].Args
			d.grace = time.Duration(set.Template.Spec.Grace) * time.Second
			d.files = map[string]string{"/etc/verbatim/config/" + file: text, "/etc/verbatim/secrets/auth": someSecret}
			for _, e := range set.Template.Spec.Containers[0].Env {
				switch {
				case e.ValueFrom.FieldRef.FieldPath == "metadata.name" && e.Name == "POD_NAME":
				case e.ValueFrom.SecretKeyRef.Key == "db":
					d.env[e.Name] = "postgres://verbatim:x@postgres/verbatim"
				default:
					d.env[e.Name] = strings.ReplaceAll(e.Value, "$(POD_NAME)", pod)
				}
			}
			d.check(t)
			if !services[pod] || !services[pod+"-media"] {
				t.Error("it has no services of its own")
			}
		})
	}
}

func TestDeploySystemd(t *testing.T) {
	b, err := os.ReadFile(root + "deploy/verbatim.service")
	if err != nil {
		t.Fatal(err)
	}
	d := &deployment{env: map[string]string{}, files: map[string]string{}}
	for line := range strings.Lines(strings.NewReplacer("%d", "/run/credentials", "%S", "/var/lib").Replace(string(b))) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "ExecStart":
			d.args = strings.Fields(value)[1:]
		case "Environment":
			d.setenv(value)
		case "LoadCredential":
			id, _, _ := strings.Cut(value, ":")
			d.files["/run/credentials/"+id] = map[string]string{"verbatim.yaml": "recognizer: ['none:']\n", "auth-secret": someSecret}[id]
		case "TimeoutStopSec":
			if d.grace, err = time.ParseDuration(value); err != nil {
				t.Fatal(err)
			}
		}
	}
	d.check(t)
}
