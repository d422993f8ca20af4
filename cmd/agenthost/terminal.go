package main

import (
	"io"
	"os"

	"golang.org/x/term"
)

// isTerminal says whether a person watches this output.
func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	return ok && term.IsTerminal(int(file.Fd())) && os.Getenv("TERM") != "dumb"
}
