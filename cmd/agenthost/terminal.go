package main

import (
	"io"
	"os"

	"golang.org/x/term"

	"github.com/agenthost/agenthost/tools/terminal"
)

// isTerminal says whether a person watches this output.
func isTerminal(out io.Writer) bool {
	file, ok := terminal.Behind(out).(*os.File)
	return ok && term.IsTerminal(int(file.Fd())) && os.Getenv("TERM") != "dumb"
}
