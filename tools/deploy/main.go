// Command deploy reads the files of a folder like deploy/: compose.yaml by the
// specification's own loader (its schema, and that all that is named is there), and
// kubernetes/*.yaml into Kubernetes' types, which have to know every field; what these
// name of each other has to be there, too. It is a module of its own, as the server
// needs none of it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/compose-spec/compose-go/v2/cli"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: deploy FOLDER")
		os.Exit(2)
	}
	if err := errors.Join(compose(filepath.Join(os.Args[1], "compose.yaml")), kubernetes(filepath.Join(os.Args[1], "kubernetes"))); err != nil {
		fmt.Fprintln(os.Stderr, "deploy:", err)
		os.Exit(1)
	}
}

// compose loads a file as Compose does.
func compose(path string) error {
	o, err := cli.NewProjectOptions([]string{path}, cli.WithEnv([]string{"DOMAIN=meet.example.org", "PUBLIC_IP=203.0.113.5"}))
	if err != nil {
		return err
	}
	p, err := o.LoadProject(context.Background())
	if err != nil {
		return err
	}
	if len(p.Services) < 2 {
		return fmt.Errorf("%s: services: %v", path, p.ServiceNames())
	}
	return nil
}

// cluster is what the manifests say.
type cluster struct {
	sets      []apps.StatefulSet
	services  []core.Service
	ingresses []networking.Ingress
	budgets   []policy.PodDisruptionBudget
	policies  []networking.NetworkPolicy
	configs   []core.ConfigMap
}

var separator = regexp.MustCompile(`(?m)^---$`)

func kubernetes(dir string) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return err
	}
	var c cluster
	var errs []error
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, doc := range separator.Split(string(b), -1) {
			if err := c.read(dir, []byte(doc)); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", path, err))
			}
		}
	}
	return errors.Join(append(errs, c.check())...)
}

// read takes in one object.
func (c *cluster) read(dir string, doc []byte) error {
	var is meta.TypeMeta
	if err := yaml.Unmarshal(doc, &is); err != nil {
		return err
	}
	switch is.APIVersion + " " + is.Kind {
	case "v1 Namespace":
		return yaml.UnmarshalStrict(doc, new(core.Namespace))
	case "v1 ConfigMap":
		return add(&c.configs, doc)
	case "v1 Service":
		return add(&c.services, doc)
	case "apps/v1 StatefulSet":
		return add(&c.sets, doc)
	case "policy/v1 PodDisruptionBudget":
		return add(&c.budgets, doc)
	case "networking.k8s.io/v1 Ingress":
		return add(&c.ingresses, doc)
	case "networking.k8s.io/v1 NetworkPolicy":
		return add(&c.policies, doc)
	case "monitoring.coreos.com/v1 PodMonitor": // an operator's own
		return nil
	case "kustomize.config.k8s.io/v1beta1 Kustomization":
		var k struct{ Resources []string }
		if err := yaml.Unmarshal(doc, &k); err != nil {
			return err
		}
		for _, name := range k.Resources {
			if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("%s %s is not known here", is.APIVersion, is.Kind)
}

func add[T any](to *[]T, doc []byte) error {
	var v T
	err := yaml.UnmarshalStrict(doc, &v)
	*to = append(*to, v)
	return err
}

// check looks at what the objects name of each other.
func (c *cluster) check() error {
	if len(c.sets) != 1 || len(c.sets[0].Spec.Template.Spec.Containers) != 1 || len(c.services) == 0 || len(c.ingresses) == 0 || len(c.budgets) == 0 || len(c.policies) == 0 {
		return errors.New("there is not what was expected: one StatefulSet of one container, and what belongs to it")
	}
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	set := c.sets[0]
	pod, container := set.Spec.Template.Spec, set.Spec.Template.Spec.Containers[0]
	own := labels.Set(set.Spec.Template.Labels)
	port := func(what string, p intstr.IntOrString, protocol core.Protocol) {
		if !slices.ContainsFunc(container.Ports, func(has core.ContainerPort) bool {
			return has.Name == p.StrVal && (protocol == "" || has.Protocol == protocol)
		}) {
			fail("%s: there is no port %s (%s)", what, p.String(), protocol)
		}
	}
	selects := func(what string, s *meta.LabelSelector) {
		if m, err := meta.LabelSelectorAsSelector(s); err != nil || m.Empty() || !m.Matches(own) {
			fail("%s selects other pods than the set has: %v", what, err)
		}
	}

	selects("StatefulSet", set.Spec.Selector)
	selects("PodDisruptionBudget", c.budgets[0].Spec.Selector)
	selects("NetworkPolicy", &c.policies[0].Spec.PodSelector)
	for _, p := range []*core.Probe{container.StartupProbe, container.LivenessProbe, container.ReadinessProbe} {
		if p == nil || p.HTTPGet == nil {
			fail("a probe is missing")
			continue
		}
		port("probe", p.HTTPGet.Port, core.ProtocolTCP)
	}
	for _, rule := range c.policies[0].Spec.Ingress {
		for _, p := range rule.Ports {
			port("NetworkPolicy", *p.Port, *p.Protocol)
		}
	}

	volumes := map[string]bool{}
	for _, v := range pod.Volumes {
		volumes[v.Name] = true
		if v.ConfigMap != nil && !slices.ContainsFunc(c.configs, func(m core.ConfigMap) bool { return m.Name == v.ConfigMap.Name }) {
			fail("there is no ConfigMap %s", v.ConfigMap.Name)
		}
	}
	for _, v := range set.Spec.VolumeClaimTemplates {
		volumes[v.Name] = true
	}
	for _, m := range container.VolumeMounts {
		if !volumes[m.Name] {
			fail("there is no volume %s", m.Name)
		}
	}

	pods := []string{}
	for i := range *set.Spec.Replicas {
		pods = append(pods, fmt.Sprintf("%s-%d", set.Name, i))
	}
	services := map[string]core.Service{}
	for _, s := range c.services {
		services[s.Name] = s
		for _, p := range s.Spec.Ports {
			port("Service "+s.Name, p.TargetPort, p.Protocol)
		}
		name, one := s.Spec.Selector["statefulset.kubernetes.io/pod-name"]
		if one && !slices.Contains(pods, name) || !one && !labels.SelectorFromSet(s.Spec.Selector).Matches(own) {
			fail("Service %s selects no pod of the set", s.Name)
		}
	}
	if _, ok := services[set.Spec.ServiceName]; !ok {
		fail("there is no Service %s", set.Spec.ServiceName)
	}
	for _, in := range c.ingresses {
		for _, rule := range in.Spec.Rules {
			for _, path := range rule.HTTP.Paths {
				to := path.Backend.Service
				if !slices.ContainsFunc(services[to.Name].Spec.Ports, func(p core.ServicePort) bool { return p.Name == to.Port.Name }) {
					fail("Ingress: Service %s has no port %s", to.Name, to.Port.Name)
				}
			}
		}
	}
	return errors.Join(errs...)
}
