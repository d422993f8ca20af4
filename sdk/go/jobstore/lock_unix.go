//go:build unix

package jobstore

import (
	"os"

	"golang.org/x/sys/unix"
)

// exclusively waits until nobody else has the file locked, and locks it until it is closed.
func exclusively(lock *os.File) error {
	for {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX)
		if err != unix.EINTR {
			return err
		}
	}
}
