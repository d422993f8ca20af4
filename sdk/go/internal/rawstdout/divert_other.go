//go:build !unix

package rawstdout

import "os"

// divert keeps only Go's own printing away from standard output.
func divert() *os.File {
	original := os.Stdout
	os.Stdout = os.Stderr
	return original
}
