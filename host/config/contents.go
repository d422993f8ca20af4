package config

import (
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// WatchedFiles are the files beside the configuration's own whose content is a part of it, as absolute paths in order:
// those of the plugins' secrets, the artefacts that have a SHA-256 sum, and the certificates for remote agents. When one of them
// changes, what the plugins are made of has changed, though no key has.
func (c *Config) WatchedFiles() []string {
	var files []string
	for name := range c.Plugins {
		for _, watched := range c.watched(name) {
			files = append(files, watched.path)
		}
	}
	slices.Sort(files)
	return slices.Compact(files)
}

// watchedFile is one file behind a key of a plugin.
type watchedFile struct{ key, path string }

// watched gives those of a plugin, in the same order each time.
func (c *Config) watched(plugin string) []watchedFile {
	var files []watchedFile
	p := c.Plugins[plugin]
	add := func(path string, key ...string) {
		if absolute, err := filepath.Abs(path); err == nil {
			files = append(files, watchedFile{key: keyName(key), path: absolute})
		}
	}
	for _, secret := range sortedKeys(p.Secrets) {
		if path, isFile := strings.CutPrefix(p.Secrets[secret], "file://"); isFile {
			add(path, "secrets", secret)
		}
	}
	for _, path := range sortedKeys(p.SHA256) {
		if filepath.IsAbs(path) {
			add(path, "sha256", path)
		} else if p.Image == "" { // what is in an image has its digest
			add(filepath.Join(p.Dir, path), "sha256", path)
		}
	}
	if p.Verify.CosignKey != "" {
		add(p.Verify.CosignKey, "verify", "cosign_key")
	}
	for _, f := range pluginShape.fields { // the certificates
		if f.shape.check == rules["file"] {
			if path := fieldOf(&p, f).String(); path != "" {
				add(path, f.name)
			}
		}
	}
	return files
}

// content stands for what a file holds.
type content struct {
	sum [sha256.Size]byte
	// blank says that there is nothing but white space.
	blank bool
	// problem is why it could not be read; empty where it could.
	problem string
}

// contentsOf stands for what the configuration's own files held when they were read.
func contentsOf(files []readResult) map[string]content {
	contents := make(map[string]content, len(files))
	for _, file := range files {
		if file.err != nil {
			contents[file.path] = content{problem: file.err.Error()}
		} else {
			contents[file.path] = content{sum: sha256.Sum256(file.bytes), blank: isBlank(file.bytes)}
		}
	}
	return contents
}

// sums reads files for their content. A large one, an artefact, is read again only if it may have changed.
type sums map[string]summed

type summed struct {
	content
	info os.FileInfo
	read time.Time
}

const (
	// large is the size from which a file's time stamp is trusted, which a tool could have set back.
	large = MiB
	// racy is how fresh a change may be for another one to come without a new time stamp: file systems count in ticks, some of
	// them in seconds.
	racy = 3 * time.Second
)

// of gives the content of each file, and forgets all others.
func (s sums) of(paths []string) map[string]content {
	contents := make(map[string]content, len(paths))
	for _, path := range paths {
		known, seen := s[path]
		info, err := os.Stat(path)
		switch {
		case err != nil:
			known = summed{content: content{problem: err.Error()}}
		case !info.Mode().IsRegular(): // reading a pipe would wait, and take from it
			known = summed{content: content{problem: "not a regular file"}}
		case seen && known.isStill(info):
		default:
			known = summed{info: info, read: time.Now()}
			if known.sum, err = sumFile(path); err != nil {
				known = summed{content: content{problem: err.Error()}}
			}
		}
		s[path] = known
		contents[path] = known.content
	}
	for path := range s {
		if _, wanted := contents[path]; !wanted {
			delete(s, path)
		}
	}
	return contents
}

// isStill says that a file which looks like this has been read already.
func (s summed) isStill(info os.FileInfo) bool {
	return s.info != nil && os.SameFile(s.info, info) && info.Size() >= int64(large) && s.info.Size() == info.Size() &&
		s.info.ModTime().Equal(info.ModTime()) && s.read.Sub(info.ModTime()) > racy
}

func sumFile(path string) (sum [sha256.Size]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	digest := sha256.New()
	if _, err := io.Copy(digest, f); err != nil {
		return sum, err
	}
	return [sha256.Size]byte(digest.Sum(nil)), nil
}
