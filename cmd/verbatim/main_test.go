package main

import (
	"slices"
	"testing"
)

// Commands that people try print the same as the flags that there are.
func TestHelpAndVersion(t *testing.T) {
	for _, c := range [][2][]string{
		{{"version"}, {"--version"}},
		{{"help"}, {"--help"}},
		{{"help", "config", "check"}, {"config", "check", "--help"}},
	} {
		got, err := verbatim(t.Context(), c[0]...).Output()
		if err != nil {
			t.Errorf("%v: %v", c[0], err)
		}
		want, err := verbatim(t.Context(), c[1]...).Output()
		if err != nil || len(want) == 0 || !slices.Equal(got, want) {
			t.Errorf("%v prints\n%s\nand %v\n%s (%v)", c[0], got, c[1], want, err)
		}
	}
	if out, err := verbatim(t.Context(), "help", "serf").CombinedOutput(); err == nil {
		t.Errorf("there is help for what is no command: %s", out)
	}
}
