package artifact

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// entryKind is what an entry is.
type entryKind int

const (
	fileEntry entryKind = iota
	folderEntry
	linkEntry
)

// entry is a file, folder or symbolic link as it is to be on disk.
type entry struct {
	path       string // relative, with slashes, without . and ..
	kind       entryKind
	executable bool
	size       int64
	sum        [sha256.Size]byte // of a file's content, where it was asked for
	link       string            // where a symbolic link leads, relative to its folder
	from       source
}

// source is where the content of a file stands: a hard link has that of its target.
type source struct{ layer, number int }

// plan is what comes of an artifact's layers, one after the other: in the end, what is to be on disk.
type plan struct {
	image   bool // whiteouts, and / is the image's root
	limits  Limits
	sums    bool // the content of files is to be summed up
	entries map[string]entry
	layer   int
	inLayer map[string]bool // the paths that the current layer has had
	size    int64           // of all files so far, replaced ones too
	count   int
}

// makePlan reads the layers, each a file, and gives the entries by path, folders before what is in them.
func makePlan(m ocispec.Manifest, blob func(ocispec.Descriptor) string, limits Limits, sums bool) ([]entry, error) {
	p := &plan{image: isImage(m), limits: limits, sums: sums, entries: map[string]entry{}}
	for i, layer := range m.Layers {
		p.layer, p.inLayer = i, map[string]bool{}
		if err := p.read(layer, blob(layer)); err != nil {
			return nil, &refusedError{err: fmt.Errorf("layer %s: %w", short(layer.Digest.String()), err), advice: adviceOf(err)}
		}
	}
	if err := p.checkLinks(); err != nil {
		return nil, &refusedError{err: err}
	}
	entries := slices.Collect(maps.Values(p.entries))
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.path, b.path) })
	return entries, nil
}

func adviceOf(err error) string {
	var refused *refusedError
	if errors.As(err, &refused) {
		return refused.advice
	}
	return "it was not packed as a plugin is: `agenthost plugin push` does it right"
}

func (p *plan) read(layer ocispec.Descriptor, file string) error {
	if layer.MediaType == ocispec.MediaTypeEmptyJSON { // what oras puts in where there is nothing
		return nil
	}
	kind, err := kindOf(layer)
	if err != nil {
		return err
	}
	if kind == singleFile {
		return p.title(layer, file)
	}
	return eachHeader(kind, file, p.limits, p.add)
}

// title takes a layer that is one file.
func (p *plan) title(layer ocispec.Descriptor, file string) error {
	name, err := p.name(layer.Annotations[ocispec.AnnotationTitle])
	if err != nil || name == "" {
		return errors.Join(err, errors.New("its title is no file's name"))
	}
	content, err := os.Open(file)
	if err != nil {
		return err
	}
	defer content.Close()
	e := entry{path: name, kind: fileEntry, executable: true, from: source{p.layer, 0}}
	if e.size, e.sum, err = p.content(name, content); err != nil {
		return err
	}
	return p.put(e)
}

// eachHeader reads an archive from front to end.
func eachHeader(kind layerKind, file string, limits Limits, each func(number int, header *tar.Header, content io.Reader) error) error {
	packed, err := os.Open(file)
	if err != nil {
		return err
	}
	defer packed.Close()
	var stream io.Reader = bufio.NewReader(packed)
	switch kind {
	case gzipped:
		if stream, err = gzip.NewReader(stream); err != nil {
			return fmt.Errorf("it is not gzip: %w", err)
		}
	case zstandard:
		decoder, err := zstd.NewReader(stream, zstd.WithDecoderMaxWindow(64<<20), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return fmt.Errorf("it is not zstd: %w", err)
		}
		defer decoder.Close()
		stream = decoder
	}
	archive := tar.NewReader(&bounded{from: stream, left: limits.Size + limits.overhead(), limits: limits})
	for number := 0; ; number++ {
		header, err := archive.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("it is not a sound tar archive: %w", err)
		}
		if err := each(number, header, archive); err != nil {
			return err
		}
	}
}

// bounded ends what grows out of all proportion while it is unpacked.
type bounded struct {
	from   io.Reader
	left   int64
	limits Limits
}

func (b *bounded) Read(into []byte) (int, error) {
	n, err := b.from.Read(into)
	if b.left -= int64(n); b.left < 0 {
		return n, b.limits.tooLarge()
	}
	return n, err
}

func (l Limits) tooLarge() error {
	return refuse("if it is meant to be as large, raise artifacts.max_size", "unpacked it has more than %d bytes (artifacts.max_size)", l.Size)
}

// add takes one entry of an archive, or refuses it by its name.
func (p *plan) add(number int, header *tar.Header, content io.Reader) error {
	if header.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := p.name(header.Name)
	if err != nil {
		return err
	}
	if name == "" { // the root itself
		if header.Typeflag != tar.TypeDir {
			return fmt.Errorf("%q is not a file's name", header.Name)
		}
		return nil
	}
	if p.image && strings.HasPrefix(path.Base(name), whiteout) {
		return p.remove(name)
	}
	if err := p.checkPrivileges(header); err != nil {
		return err
	}
	e := entry{path: name, from: source{p.layer, number}}
	switch header.Typeflag {
	case tar.TypeDir:
		e.kind = folderEntry
	case tar.TypeReg:
		e.kind, e.executable = fileEntry, header.Mode&0o111 != 0
		if e.size, e.sum, err = p.content(name, content); err != nil {
			return err
		}
	case tar.TypeSymlink:
		e.kind, e.link = linkEntry, header.Linkname
		if path.IsAbs(e.link) {
			if !p.image {
				return fmt.Errorf("%q is a symbolic link to %q, an absolute path", name, e.link)
			}
			e.link = relative(path.Dir(name), strings.TrimLeft(path.Clean(e.link), "/"))
		}
		if e.link == "" || strings.ContainsRune(e.link, 0) {
			return fmt.Errorf("%q is a symbolic link to nowhere", name)
		}
	case tar.TypeLink:
		target, err := p.name(header.Linkname)
		if err != nil {
			return fmt.Errorf("%q is a hard link: %w", name, err)
		}
		original, there := p.entries[target]
		if !there || original.kind != fileEntry || target == name {
			return fmt.Errorf("%q is a hard link to %q, which is no file before it in the archive", name, header.Linkname)
		}
		if p.size += original.size; p.size > p.limits.Size {
			return p.limits.tooLarge()
		}
		original.path = name
		e = original
	default:
		return fmt.Errorf("%q is %s: only files, folders and links belong into an archive", name, typeName(header.Typeflag))
	}
	return p.put(e)
}

func typeName(flag byte) string {
	switch flag {
	case tar.TypeChar, tar.TypeBlock:
		return "a device"
	case tar.TypeFifo:
		return "a named pipe"
	case tar.TypeGNUSparse:
		return "a sparse file"
	}
	return fmt.Sprintf("of the unknown type %q", flag)
}

// checkPrivileges refuses what would give a program more than who starts it. Base systems of images have such files (su, mount): there
// the privilege is dropped, as are owners everywhere.
func (p *plan) checkPrivileges(header *tar.Header) error {
	if p.image {
		return nil
	}
	if header.Mode&(0o4000|0o2000) != 0 {
		return fmt.Errorf("%q is setuid or setgid (mode %04o)", header.Name, header.Mode&0o7777)
	}
	for key := range header.PAXRecords {
		if strings.HasPrefix(key, "SCHILY.xattr.security.") || strings.HasPrefix(key, "LIBARCHIVE.xattr.security.") {
			return fmt.Errorf("%q has the privilege %s", header.Name, key)
		}
	}
	return nil
}

// maxPath and maxName are Linux'.
const (
	maxPath = 4095
	maxName = 255
)

// name makes a path within the artifact of what an archive calls a file; "" is its root.
func (p *plan) name(raw string) (string, error) {
	name := raw
	if p.image {
		name = strings.TrimLeft(name, "/")
	}
	switch {
	case path.IsAbs(name):
		return "", fmt.Errorf("%q is an absolute path", raw)
	case slices.Contains(strings.Split(name, "/"), ".."):
		return "", fmt.Errorf("%q leads out of its folder (..)", raw)
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "", fmt.Errorf("%q has control characters in its name", raw)
	case len(name) > maxPath:
		return "", fmt.Errorf("%q… is a path of %d bytes, and %d is the most", raw[:64], len(name), maxPath)
	}
	for part := range strings.SplitSeq(name, "/") {
		if len(part) > maxName {
			return "", fmt.Errorf("%q… is a name of %d bytes, and %d is the most", part[:64], len(part), maxName)
		}
	}
	if name = path.Clean(name); name == "." {
		return "", nil
	}
	return name, nil
}

// content reads a file to its end, within the limits.
func (p *plan) content(name string, from io.Reader) (size int64, sum [sha256.Size]byte, err error) {
	to, digest := io.Discard, sha256.New()
	if p.sums {
		to = digest
	}
	size, err = io.Copy(to, io.LimitReader(from, p.limits.Size-p.size+1))
	if err != nil {
		return 0, sum, fmt.Errorf("%q: %w", name, err)
	}
	if p.size += size; p.size > p.limits.Size {
		return 0, sum, p.limits.tooLarge()
	}
	return size, [sha256.Size]byte(digest.Sum(nil)), nil
}

// put adds an entry, and the folders above it that are not there.
func (p *plan) put(e entry) error {
	before, known := p.entries[e.path]
	bothFolders := e.kind == folderEntry && before.kind == folderEntry
	if p.inLayer[e.path] && (!p.image || !bothFolders) {
		return fmt.Errorf("%q is there twice", e.path)
	}
	if known && !p.image && !bothFolders {
		return fmt.Errorf("%q is there twice, in two layers", e.path)
	}
	p.inLayer[e.path] = true
	for above := path.Dir(e.path); above != "."; above = path.Dir(above) {
		switch folder, there := p.entries[above]; {
		case !there:
			if err := p.grow(); err != nil {
				return err
			}
			p.entries[above] = entry{path: above, kind: folderEntry, from: source{p.layer, 0}}
		case folder.kind == linkEntry:
			return fmt.Errorf("%q is to be written through the symbolic link %q", e.path, above)
		case folder.kind != folderEntry:
			return fmt.Errorf("%q is to be below %q, which is a file", e.path, above)
		}
	}
	if known && before.kind == folderEntry && e.kind != folderEntry { // a later layer has a file there
		p.drop(e.path, false)
	}
	if err := p.grow(); err != nil {
		return err
	}
	p.entries[e.path] = e
	return nil
}

func (p *plan) grow() error {
	if p.count++; p.count > p.limits.Files {
		return refuse("if it is meant to have as many, raise artifacts.max_files", "it has more than %d files (artifacts.max_files)", p.limits.Files)
	}
	return nil
}

const (
	// whiteout leads the name of what a layer removes; opaque in a folder removes all that layers before have there.
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

func (p *plan) remove(name string) error {
	if err := p.grow(); err != nil {
		return err
	}
	folder, base := path.Split(name)
	folder = path.Clean(folder)
	if base == opaque {
		p.drop(folder, true)
		return nil
	}
	gone := strings.TrimPrefix(base, whiteout)
	if gone == "" || gone == "." || gone == ".." {
		return fmt.Errorf("%q removes no file", name)
	}
	p.drop(path.Join(folder, gone), false)
	return nil
}

// drop removes what layers before have at and below a path, or only below it.
func (p *plan) drop(at string, below bool) {
	maps.DeleteFunc(p.entries, func(name string, e entry) bool {
		if p.inLayer[name] || e.from.layer == p.layer {
			return false
		}
		return name == at && !below || at == "." || strings.HasPrefix(name, at+"/")
	})
}

// checkLinks refuses links that lead out of the artifact, by whatever way, and those that lead in a circle.
func (p *plan) checkLinks() error {
	for _, name := range slices.Sorted(maps.Keys(p.entries)) {
		if p.entries[name].kind != linkEntry {
			continue
		}
		if err := p.follow(name); err != nil {
			return fmt.Errorf("%q is a symbolic link to %q, %w", name, p.entries[name].link, err)
		}
	}
	return nil
}

// maxHops is how many links Linux follows.
const maxHops = 40

// follow walks to where a link leads, as the kernel would.
func (p *plan) follow(name string) error {
	at, rest := ".", strings.Split(name, "/")
	for hops := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if at == "." {
				return errors.New("which leads out of the artifact")
			}
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, part)
		e, there := p.entries[next]
		if !there || e.kind != linkEntry {
			at = next
			continue
		}
		if hops++; hops > maxHops {
			return errors.New("which leads in a circle")
		}
		rest = append(strings.Split(e.link, "/"), rest...)
	}
	return nil
}

// relative is the path from a folder to a target, both from the root.
func relative(folder, target string) string {
	if folder == "." {
		return path.Join(".", target)
	}
	return path.Join(strings.Repeat("../", strings.Count(folder, "/")+1), target)
}
