package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// reachPython lets every user run the interpreter, wherever it and its packages are.
func (o *options) reachPython(dir string) error {
	out, err := exec.CommandContext(context.Background(), o.Python, "-c", `
import os, sys, agenthost
package = agenthost.__path__[0]
contract = os.path.realpath(os.path.join(package, "contract.binpb"))
print(sys.prefix, sys.base_prefix, package, os.path.dirname(contract), sep="\n")`).Output()
	if err != nil {
		return fmt.Errorf("%s has no SDK: give -python an interpreter as `scripts/venv flytekit` makes one: %w", o.Python, err)
	}
	o.Packages = strings.Split(strings.TrimSpace(string(out)), "\n")
	if err := reachable(dir, o.Packages...); err != nil {
		return fmt.Errorf("the packages of %s cannot be shown to other users: %w", o.Python, err)
	}
	return nil
}
