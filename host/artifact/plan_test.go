package artifact

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// file and folder are entries of archives; others are given as headers.
func file(name, content string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(content)), Uname: content}
}

func folder(name string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}
}

func link(name, target string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}
}

func hard(name, target string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target, Mode: 0o755}
}

func whole(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, h := range headers {
		content := h.Uname
		h.Uname, h.Format = "", tar.FormatPAX
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write([]byte(content)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return archive.Bytes()
}

// blobs are layers in files.
type blobs struct {
	folder   string
	manifest ocispec.Manifest
}

func layered(t *testing.T, image bool, layers ...[]byte) blobs {
	t.Helper()
	b := blobs{folder: t.TempDir()}
	if image {
		b.manifest.Config.MediaType = ocispec.MediaTypeImageConfig
	}
	for _, layer := range layers {
		b.add(t, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer}, layer)
	}
	return b
}

func (b *blobs) add(t *testing.T, as ocispec.Descriptor, content []byte) {
	t.Helper()
	as.Digest, as.Size = digest.FromBytes(content), int64(len(content))
	if err := os.WriteFile(b.of(as), content, 0o600); err != nil {
		t.Fatal(err)
	}
	b.manifest.Layers = append(b.manifest.Layers, as)
}

func (b *blobs) of(blob ocispec.Descriptor) string {
	return filepath.Join(b.folder, blob.Digest.Encoded())
}

// unpacked is the files of a tree with their contents; folders end with a slash, and links have an arrow.
func (b *blobs) unpacked(t *testing.T, limits Limits) (map[string]string, error) {
	t.Helper()
	tree := filepath.Join(t.TempDir(), "tree")
	t.Cleanup(func() { removeTree(tree) })
	if err := unpackInto(tree, b.manifest, b.of, limits); err != nil {
		return nil, err
	}
	entries, err := makePlan(b.manifest, b.of, limits, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := compareTree(tree, entries); err != nil {
		t.Errorf("what was just written differs: %v", err)
	}
	found := map[string]string{}
	for _, e := range entries {
		switch e.kind {
		case folderEntry:
			found[e.path+"/"] = ""
		case linkEntry:
			found[e.path] = "-> " + e.link
		case fileEntry:
			content, err := os.ReadFile(filepath.Join(tree, e.path))
			if err != nil {
				t.Fatal(err)
			}
			found[e.path] = string(content)
		}
	}
	return found, nil
}

func TestWhatDoesNotBelongIntoAnArchiveIsRefusedByName(t *testing.T) {
	outward := t.TempDir()
	privileged := file("bin/su", "x")
	privileged.Mode = 0o4755
	group := file("bin/wall", "x")
	group.Mode = 0o2755
	capable := file("bin/ping", "x")
	capable.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": "\x01"}
	setgidFolder := folder("shared")
	setgidFolder.Mode = 0o2775
	const both, bare, image = 3, 1, 2
	for name, test := range map[string]struct {
		headers []tar.Header
		of      int
		want    string
	}{
		"a path upward":                     {[]tar.Header{file("../evil", "x")}, both, `"../evil" leads out`},
		"a path upward within":              {[]tar.Header{file("a/../../evil", "x")}, both, `"a/../../evil" leads out`},
		"a path upward at the end":          {[]tar.Header{folder("a/..")}, both, `leads out`},
		"an absolute path":                  {[]tar.Header{file(outward+"/evil", "x")}, bare, `evil" is an absolute path`},
		"a link with an absolute path":      {[]tar.Header{link("a", "/etc/passwd")}, bare, `"a" is a symbolic link to "/etc/passwd", an absolute path`},
		"a link outward":                    {[]tar.Header{link("a", "../../etc/passwd")}, both, `"a" is a symbolic link to "../../etc/passwd", which leads out`},
		"a link outward from a folder":      {[]tar.Header{folder("d"), link("d/a", "../../x")}, both, `"d/a" is a symbolic link to "../../x", which leads out`},
		"a link outward through another":    {[]tar.Header{folder("d"), link("d/here", "."), link("a", "d/here/../..")}, both, `"a" is a symbolic link to "d/here/../.."`},
		"links in a circle":                 {[]tar.Header{link("a", "b"), link("b", "a")}, both, "leads in a circle"},
		"a link to itself":                  {[]tar.Header{link("a", "a")}, both, "leads in a circle"},
		"a link to nothing":                 {[]tar.Header{link("a", "")}, both, `"a" is a symbolic link to nowhere`},
		"a file through a link":             {[]tar.Header{link("d", "."), file("d/evil", "x")}, both, `"d/evil" is to be written through the symbolic link "d"`},
		"a file through a link outward":     {[]tar.Header{link("d", "../.."), file("d/evil", "x")}, both, `through the symbolic link "d"`},
		"a file below a file":               {[]tar.Header{file("d", "x"), file("d/evil", "x")}, both, `"d/evil" is to be below "d", which is a file`},
		"a hard link outward":               {[]tar.Header{hard("a", "../../etc/passwd")}, both, `"a" is a hard link: "../../etc/passwd" leads out`},
		"a hard link with an absolute path": {[]tar.Header{hard("a", "/etc/passwd")}, both, `"a" is a hard link`},
		"a hard link to what comes later":   {[]tar.Header{hard("a", "b"), file("b", "x")}, both, `"a" is a hard link to "b", which is no file before it`},
		"a hard link to a link":             {[]tar.Header{link("l", "x"), hard("a", "l")}, both, `"a" is a hard link to "l"`},
		"a hard link to itself":             {[]tar.Header{file("a", "x"), hard("a", "a")}, both, `"a"`},
		"a character device":                {[]tar.Header{{Name: "dev/mem", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 1}}, both, `"dev/mem" is a device`},
		"a block device":                    {[]tar.Header{{Name: "dev/sda", Typeflag: tar.TypeBlock, Devmajor: 8}}, both, `"dev/sda" is a device`},
		"a pipe":                            {[]tar.Header{{Name: "p", Typeflag: tar.TypeFifo}}, both, `"p" is a named pipe`},
		"a setuid program":                  {[]tar.Header{privileged}, bare, `"bin/su" is setuid`},
		"a setgid program":                  {[]tar.Header{group}, bare, `"bin/wall" is setuid or setgid`},
		"a setgid folder":                   {[]tar.Header{setgidFolder}, bare, `"shared" is setuid or setgid`},
		"a program with capabilities":       {[]tar.Header{capable}, bare, `"bin/ping" has the privilege`},
		"a file twice":                      {[]tar.Header{file("a", "x"), file("a", "y")}, both, `"a" is there twice`},
		"a file twice by another name":      {[]tar.Header{file("a", "x"), file("./a", "y")}, both, `"a" is there twice`},
		"a file and a folder":               {[]tar.Header{file("a", "x"), folder("a")}, both, `"a" is there twice`},
		"a folder and a file":               {[]tar.Header{folder("a"), file("a", "x")}, both, `"a" is there twice`},
		"a folder that is a link later":     {[]tar.Header{folder("a"), link("a", "b")}, both, `"a" is there twice`},
		"a folder twice":                    {[]tar.Header{folder("a"), folder("a/")}, bare, `"a" is there twice`},
		"a name with a terminal's escape":   {[]tar.Header{file("a\x1b[2J", "x")}, both, `"a\x1b[2J" has control characters`},
		"a name with a newline":             {[]tar.Header{file("a\nb", "x")}, both, `has control characters`},
		"a long name":                       {[]tar.Header{file(strings.Repeat("n", 256), "x")}, both, "is a name of 256 bytes"},
		"a long path":                       {[]tar.Header{file(strings.Repeat("n/", 2100)+"x", "x")}, both, "is a path of 4201 bytes"},
		"the root as a link":                {[]tar.Header{link(".", "/etc")}, both, `"." is not a file's name`},
		"the root as a file":                {[]tar.Header{file(".", "x")}, both, `"." is not a file's name`},
		"a removal of nothing":              {[]tar.Header{file("a/.wh..", "")}, image, `removes no file`},
		"a removal upward":                  {[]tar.Header{file("../.wh.x", "")}, image, `leads out`},
	} {
		for _, as := range []int{bare, image} {
			if test.of&as == 0 {
				continue
			}
			kind := map[int]string{bare: "artifact", image: "image"}[as]
			t.Run(name+"/"+kind, func(t *testing.T) {
				b := layered(t, as == image, whole(t, test.headers...))
				found, err := b.unpacked(t, DefaultLimits)
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%v, want an error with %q; there are %v", err, test.want, found)
				}
			})
		}
	}
	if left, err := os.ReadDir(outward); err != nil || len(left) > 0 {
		t.Errorf("%v, %v were written outside", err, left)
	}
}

func TestAnArchiveThatGrowsOutOfProportionIsRefused(t *testing.T) {
	limits := Limits{Size: 1 << 20, Files: 100}
	var bomb bytes.Buffer
	packed := gzip.NewWriter(&bomb)
	if _, err := packed.Write(whole(t, file("zeros", strings.Repeat("\x00", 4<<20)))); err != nil {
		t.Fatal(err)
	}
	if err := packed.Close(); err != nil {
		t.Fatal(err)
	}
	var several []tar.Header
	for _, name := range strings.Split("abcdefgh", "") {
		several = append(several, file(name, strings.Repeat("x", 200<<10)))
	}
	many := make([]tar.Header, 200)
	for i := range many {
		many[i] = file(strings.Repeat("n", i+1), "")
	}
	hards := []tar.Header{file("a", strings.Repeat("x", 300<<10)), hard("b", "a"), hard("c", "a"), hard("d", "a")}
	for name, test := range map[string]struct {
		mediaType string
		layer     []byte
		want      string
	}{
		"one large file":       {ocispec.MediaTypeImageLayerGzip, bomb.Bytes(), "more than 1048576 bytes (artifacts.max_size)"},
		"files that add up":    {ocispec.MediaTypeImageLayer, whole(t, several...), "more than 1048576 bytes (artifacts.max_size)"},
		"hard links add up":    {ocispec.MediaTypeImageLayer, whole(t, hards...), "more than 1048576 bytes (artifacts.max_size)"},
		"many files":           {ocispec.MediaTypeImageLayer, whole(t, many...), "more than 100 files (artifacts.max_files)"},
		"folders nobody names": {ocispec.MediaTypeImageLayer, whole(t, file(strings.Repeat("d/", 200)+"f", "")), "more than 100 files (artifacts.max_files)"},
		"nothing but padding":  {ocispec.MediaTypeImageLayerGzip, zipped(t, bytes.Repeat([]byte{1}, 8<<20)), "not a sound tar archive"},
		"no archive":           {ocispec.MediaTypeImageLayer, bytes.Repeat([]byte("no archive"), 100), "not a sound tar archive"},
		"no gzip":              {ocispec.MediaTypeImageLayerGzip, []byte("no gzip at all"), "not gzip"},
		"cut off":              {ocispec.MediaTypeImageLayerGzip, bomb.Bytes()[:bomb.Len()/2], ""},
		"nothing known":        {"application/x-unknown", []byte("x"), "no archive, and it has no title"},
	} {
		t.Run(name, func(t *testing.T) {
			b := layered(t, false)
			b.add(t, ocispec.Descriptor{MediaType: test.mediaType}, test.layer)
			if found, err := b.unpacked(t, limits); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want an error with %q; there are %v", err, test.want, found)
			}
		})
	}
}

func zipped(t *testing.T, content []byte) []byte {
	t.Helper()
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

func TestAnImageIsItsLayersOneAfterTheOther(t *testing.T) {
	su := file("bin/su", "su")
	su.Mode = 0o4755
	b := layered(t, true,
		whole(t, folder("etc"), file("etc/a", "1"), file("etc/b", "1"), folder("var"), file("var/x", "1"), file("var/y", "1"), folder("gone"), file("gone/z", "1"), file("tool", "1"), su),
		whole(t, file("etc/b", "2"), file("etc/.wh.a", ""), file("var/.wh..wh..opq", ""), file("var/new", "2"), file(".wh.gone", ""), folder("tool"), file("tool/in", "2")),
		whole(t, file("/app/run", "3"), link("run", "/app/run"), link("app/up", "/etc/b"), hard("app/again", "etc/b"), link("dangling", "nowhere")),
	)
	found, err := b.unpacked(t, DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"etc/": "", "etc/b": "2", "var/": "", "var/new": "2", "tool/": "", "tool/in": "2", "bin/": "", "bin/su": "su",
		"app/": "", "app/run": "3", "run": "-> app/run", "app/up": "-> ../etc/b", "app/again": "2", "dangling": "-> nowhere",
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Error(diff)
	}
}

func TestAnArtifactIsFilesAndArchives(t *testing.T) {
	b := layered(t, false, whole(t, file("lib/.wh.kept", "1")))
	b.add(t, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip}, zipped(t, whole(t, file("share/a", "2"))))
	var z bytes.Buffer
	w, err := zstd.NewWriter(&z)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(whole(t, file("share/b", "3"))); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	b.add(t, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerZstd}, z.Bytes())
	b.add(t, ocispec.Descriptor{MediaType: "application/octet-stream", Annotations: map[string]string{ocispec.AnnotationTitle: "plugin"}}, []byte("4"))
	found, err := b.unpacked(t, DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"lib/": "", "lib/.wh.kept": "1", "share/": "", "share/a": "2", "share/b": "3", "plugin": "4"}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Error(diff)
	}
	b.add(t, ocispec.Descriptor{MediaType: "application/octet-stream", Annotations: map[string]string{ocispec.AnnotationTitle: "../plugin"}}, []byte("5"))
	if _, err := b.unpacked(t, DefaultLimits); err == nil || !strings.Contains(err.Error(), `"../plugin" leads out`) {
		t.Errorf("a title upward: %v", err)
	}
}

func FuzzAnArchiveStaysInItsFolder(f *testing.F) {
	seed := &testing.T{}
	f.Add(whole(seed, file("a", "x"), link("b", "a"), folder("d"), hard("d/c", "a")), true)
	f.Add(whole(seed, file("../a", "x")), false)
	f.Fuzz(func(t *testing.T, layer []byte, image bool) {
		around := t.TempDir()
		b := layered(t, image, layer)
		tree := filepath.Join(around, "tree")
		defer removeTree(tree)
		if unpackInto(tree, b.manifest, b.of, Limits{Size: 1 << 20, Files: 100}) != nil {
			return
		}
		if left, err := os.ReadDir(around); err != nil || len(left) != 1 {
			t.Errorf("%v: beside the tree there are %v", err, left)
		}
		entries, err := makePlan(b.manifest, b.of, Limits{Size: 1 << 20, Files: 100}, true)
		if err != nil {
			t.Fatal(err)
		}
		if err := compareTree(tree, entries); err != nil {
			t.Error(err)
		}
		for _, e := range entries { // what a link leads to, if it is there, is inside
			if at, err := filepath.EvalSymlinks(filepath.Join(tree, e.path)); err == nil && !strings.HasPrefix(at, tree) {
				t.Errorf("%s leads to %s", e.path, at)
			}
		}
	})
}
