//go:build unix

package rawstdout

import (
	"os"

	"golang.org/x/sys/unix"
)

// divert points descriptor 1 at standard error and returns what it was. The copy is not inherited: a grandchild that
// held it open would keep the host waiting for its end.
func divert() *os.File {
	original, err := unix.FcntlInt(1, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return os.Stdout
	}
	if err := unix.Dup2(2, 1); err != nil {
		_ = unix.Close(original)
		return os.Stdout
	}
	return os.NewFile(uintptr(original), "/dev/stdout")
}
