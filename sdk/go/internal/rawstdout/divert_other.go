//go:build !unix

package rawstdout

import "os"

// divert keeps only Go's own printing away from standard output.
func divert() *os.File {
	kept := os.Stdout
	os.Stdout = os.Stderr
	return kept
}
