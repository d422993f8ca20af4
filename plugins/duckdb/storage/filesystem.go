package storage

import (
	"os"

	"golang.org/x/sys/unix"
)

// Kind is what a file system is.
type Kind struct {
	// Shared says that other machines may have it too.
	Shared bool
	// Passing says that it goes with the container or the machine.
	Passing bool
	// Name is for people.
	Name string
}

// ours are the file systems that one machine has for itself. Any other may be shared.
var ours = map[int64]Kind{
	0xEF53:     {Name: "ext4"},
	0x58465342: {Name: "xfs"},
	0x9123683E: {Name: "btrfs"},
	0x2FC12FC1: {Name: "zfs"},
	0xF2F52010: {Name: "f2fs"},
	0xCA451A4E: {Name: "bcachefs"},
	0x794C7630: {Name: "overlay", Passing: true},
	0x01021994: {Name: "tmpfs", Passing: true},
	0x858458F6: {Name: "ramfs", Passing: true},
}

// FileSystem says what kind of file system a directory is on.
func FileSystem(dir string) (Kind, error) {
	var info unix.Statfs_t
	if err := unix.Statfs(dir, &info); err != nil {
		return Kind{}, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	if kind, known := ours[info.Type&0xFFFFFFFF]; known {
		return kind, nil
	}
	return Kind{Shared: true, Name: "a volume that machines may share"}, nil
}
