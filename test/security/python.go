package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// reachPython lets every user run the interpreter, wherever it and its packages are.
func (o *options) reachPython(dir string) error {
	out, err := exec.CommandContext(context.Background(), o.Python, "-c",
		"import sys, agenthost; print(sys.prefix); print(sys.base_prefix); print(agenthost.__path__[0])").Output()
	if err != nil {
		return fmt.Errorf("%s has no SDK: give -python an interpreter as `scripts/venv flytekit` makes one: %w", o.Python, err)
	}
	for path := range strings.FieldsSeq(string(out)) {
		if err := reachable(path, dir); err != nil {
			return fmt.Errorf("%s cannot be shown to other users: %w", filepath.Dir(path), err)
		}
	}
	return nil
}
