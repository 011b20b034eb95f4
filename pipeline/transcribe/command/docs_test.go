package command

import (
	"os"
	"strings"
	"testing"
)

// The example that the page shows is the one that runs.
func TestExampleInDocs(t *testing.T) {
	page, err := os.ReadFile("../../../docs/RECOGNIZER_COMMAND.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("../../../examples/recognizer.py")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "```python\n"+string(example)+"```\n") {
		t.Error("docs/RECOGNIZER_COMMAND.md does not show examples/recognizer.py as it is")
	}
}
