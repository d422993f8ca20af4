package artifact

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The modes of what is on disk: nobody writes there.
const (
	folderMode     = 0o555
	fileMode       = 0o444
	executableMode = 0o555
)

// writeTree writes what is planned into an empty folder.
func writeTree(folder string, m ocispec.Manifest, blob func(ocispec.Descriptor) string, entries []entry, limits Limits) error {
	root, err := os.OpenRoot(folder) // whatever an entry's name is, it is not written elsewhere
	if err != nil {
		return err
	}
	defer root.Close()
	wanted := map[source][]entry{}
	for _, e := range entries {
		switch e.kind {
		case folderEntry:
			err = root.Mkdir(e.path, 0o700)
		case fileEntry:
			wanted[e.from] = append(wanted[e.from], e)
		}
		if err != nil {
			return err
		}
	}
	for i, layer := range m.Layers {
		if err := writeLayer(root, i, layer, blob(layer), wanted, limits); err != nil {
			return err
		}
	}
	for _, e := range entries { // when nothing is written any more, so that none leads a file elsewhere
		if e.kind == linkEntry {
			if err := root.Symlink(e.link, e.path); err != nil {
				return err
			}
		}
	}
	for _, e := range slices.Backward(entries) {
		if e.kind == folderEntry {
			if err := root.Chmod(e.path, folderMode); err != nil {
				return err
			}
		}
	}
	return root.Chmod(".", folderMode)
}

func writeLayer(root *os.Root, number int, layer ocispec.Descriptor, file string, wanted map[source][]entry, limits Limits) error {
	if layer.MediaType == ocispec.MediaTypeEmptyJSON {
		return nil
	}
	kind, err := kindOf(layer)
	if err != nil {
		return err
	}
	if kind == singleFile {
		content, err := os.Open(file)
		if err != nil {
			return err
		}
		defer content.Close()
		return writeFiles(root, wanted[source{number, 0}], content)
	}
	return eachHeader(kind, file, limits, func(n int, header *tar.Header, content io.Reader) error {
		if header.Typeflag != tar.TypeReg {
			return nil
		}
		return writeFiles(root, wanted[source{number, n}], content)
	})
}

// writeFiles writes a file under each of its names.
func writeFiles(root *os.Root, names []entry, content io.Reader) error {
	if len(names) == 0 { // a later layer has replaced it
		return nil
	}
	mode := fs.FileMode(fileMode)
	if names[0].executable {
		mode = executableMode
	}
	file, err := root.OpenFile(names[0].path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	if err = errors.Join(err, file.Chmod(mode), file.Close()); err != nil {
		return err
	}
	for _, other := range names[1:] {
		if err := root.Link(names[0].path, other.path); err != nil {
			return err
		}
	}
	return nil
}

// compareTree says what in a folder differs from what is planned; the entries have their sums.
func compareTree(folder string, entries []entry) error {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer root.Close()
	expected := map[string]entry{}
	for _, e := range entries {
		expected[e.path] = e
	}
	seen := 0
	err = filepath.WalkDir(folder, func(at string, found fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(folder, at)
		if err != nil {
			return err
		}
		if name == "." {
			return expectMode(found, ".", folderMode)
		}
		e, known := expected[filepath.ToSlash(name)]
		if !known {
			return fmt.Errorf("%q does not belong there", name)
		}
		seen++
		return e.compare(root, found)
	})
	if err == nil && seen < len(entries) {
		err = fmt.Errorf("%d of its %d files are missing", len(entries)-seen, len(entries))
	}
	return err
}

func (e entry) compare(root *os.Root, found fs.DirEntry) error {
	switch e.kind {
	case folderEntry:
		if !found.IsDir() {
			return fmt.Errorf("%q is no folder any more", e.path)
		}
		return expectMode(found, e.path, folderMode)
	case linkEntry:
		if target, err := root.Readlink(e.path); err != nil || target != e.link {
			return fmt.Errorf("%q is no symbolic link to %q any more", e.path, e.link)
		}
		return nil
	}
	mode := fs.FileMode(fileMode)
	if e.executable {
		mode = executableMode
	}
	if !found.Type().IsRegular() {
		return fmt.Errorf("%q is no file any more", e.path)
	}
	if err := expectMode(found, e.path, mode); err != nil {
		return err
	}
	file, err := root.Open(e.path)
	if err != nil {
		return err
	}
	defer file.Close()
	digest := sha256.New()
	if _, err := io.Copy(digest, file); err != nil {
		return err
	}
	if [sha256.Size]byte(digest.Sum(nil)) != e.sum {
		return fmt.Errorf("%q has another content", e.path)
	}
	return nil
}

func expectMode(found fs.DirEntry, name string, mode fs.FileMode) error {
	info, err := found.Info()
	if err != nil {
		return err
	}
	if got := info.Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky); got != mode {
		return fmt.Errorf("%q has the mode %04o, and not %04o", name, got, mode)
	}
	return nil
}

// sealOf stands for a folder as it looks from outside: equal seals, and nobody has written there. A change of a file's content, or
// of the file itself, changes its time of change, which nobody can set.
func sealOf(folder string) (uint64, error) {
	seal := fnv.New64a()
	err := filepath.WalkDir(folder, func(at string, found fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := found.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(seal, "%q %v %d", at, info.Mode(), info.Size())
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			fmt.Fprintf(seal, " %d %d %v", stat.Ino, stat.Uid, stat.Ctim)
		}
		return nil
	})
	return seal.Sum64(), err
}

// removeTree removes a folder that nobody may write to.
func removeTree(folder string) error {
	err := filepath.WalkDir(folder, func(at string, found fs.DirEntry, err error) error {
		if err == nil && found.IsDir() {
			err = os.Chmod(at, 0o700)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return errors.Join(err, os.RemoveAll(folder))
}
