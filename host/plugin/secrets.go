package plugin

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

func secretsDir(rundir string) string { return filepath.Join(rundir, "secrets") }

// secretName is what can be a file's name and a variable's.
var secretName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

// WriteSecrets reads each secret from where it is and writes it, byte for byte, as a file of mode 0600 into the private
// directory of the instance, under the lower-case name by which agents look for it. Errors name the secret and its
// source, never a value.
func (s Spec) WriteSecrets(rundir string) error {
	dir := secretsDir(rundir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("cannot make the directory of secrets: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Secrets)) {
		if !secretName.MatchString(name) {
			return advise(fmt.Errorf("secret %q: not a usable name", name), "use letters, digits, '_', '-' and '.'")
		}
		value, err := readSecret(s.Secrets[name])
		if err != nil {
			return fmt.Errorf("secret %s: %w", name, err)
		}
		file, err := os.OpenFile(filepath.Join(dir, strings.ToLower(name)), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			return advise(fmt.Errorf("secret %s: another secret has the same name in lower case", name), "rename one of the two")
		}
		if err != nil {
			return fmt.Errorf("secret %s: %w", name, err)
		}
		_, err = file.Write(value)
		if err = errors.Join(err, file.Close()); err != nil {
			return fmt.Errorf("secret %s: %w", name, err)
		}
	}
	return nil
}

func readSecret(source string) ([]byte, error) {
	if name, ok := strings.CutPrefix(source, "env:"); ok {
		value, ok := os.LookupEnv(name)
		if !ok {
			return nil, advise(fmt.Errorf("the host's environment has no variable %s", name), "set it where the host is started, or correct the secret's source")
		}
		return []byte(value), nil
	}
	location, err := url.Parse(source)
	if err != nil || location.Scheme != "file" || location.Host != "" || !filepath.IsAbs(location.Path) {
		// The source is not shown: somebody may have put the secret itself here.
		return nil, advise(errors.New("its source is neither file:///path nor env:NAME"), "write where the secret is, not the secret")
	}
	value, err := os.ReadFile(location.Path)
	if err != nil {
		return nil, advise(fmt.Errorf("cannot be read: %w", err), "check that the file is mounted and that the host's user may read it")
	}
	return value, nil
}
