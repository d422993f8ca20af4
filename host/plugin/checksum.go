package plugin

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// verify checks every file that has a checksum in the spec. go-plugin's SecureConfig looks at the program alone, which
// for `java -jar x.jar` is the interpreter.
func (s Spec) verify() error {
	for _, path := range slices.Sorted(maps.Keys(s.SHA256)) {
		want := strings.ToLower(strings.TrimSpace(s.SHA256[path]))
		if raw, err := hex.DecodeString(want); err != nil || len(raw) != sha256.Size {
			return advise(fmt.Errorf("sha256 of %s: %q is not a SHA-256", path, want), "it is 64 hex digits, as sha256sum prints")
		}
		file := path
		if !filepath.IsAbs(file) {
			file = filepath.Join(s.Dir, file)
		}
		got, err := sha256Of(file)
		if err != nil {
			return advise(fmt.Errorf("sha256 of %s: %w", path, err), "remove the entry, or put the file there")
		}
		if got != want {
			return advise(fmt.Errorf("sha256 of %s: want %s, got %s", path, want, got),
				"if the file was replaced on purpose, put the new checksum into the configuration; if not, find out who did")
		}
	}
	return nil
}

func sha256Of(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	digest := sha256.New()
	if _, err := io.Copy(digest, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(digest.Sum(nil)), nil
}
