package plugin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/agenthost/agenthost/host/process"
	"github.com/agenthost/agenthost/host/secret"
)

// secretsName is the folder in an instance's run directory.
const secretsName = "secrets"

func secretsDir(rundir string) string { return filepath.Join(rundir, secretsName) }

// secretName is what can be a file's name and a variable's.
var secretName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

// WriteSecrets reads each secret from where it is and writes it, byte for byte, as a file of mode 0600 into the run
// directory of the instance, under the lower-case name by which agents look for it. Errors name the secret and its
// source, never a value.
func (s Spec) WriteSecrets(ctx context.Context, rundir *process.RunDir) error {
	return s.writeSecrets(ctx, rundir, nil)
}

// writeSecrets is WriteSecrets that makes the values known, so that they are shown nowhere.
func (s Spec) writeSecrets(ctx context.Context, rundir *process.RunDir, known *secret.Known) error {
	if err := rundir.Folder(secretsName); err != nil {
		return fmt.Errorf("cannot make the directory of secrets: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Secrets)) {
		if !secretName.MatchString(name) {
			return advise(fmt.Errorf("secret %q: not a usable name", name), "use letters, digits, '_', '-' and '.'")
		}
		value, err := secret.Read(ctx, s.Secrets[name])
		if unread := (*secret.Error)(nil); errors.As(err, &unread) {
			return advise(fmt.Errorf("secret %s: %w", name, err), unread.Advice)
		}
		known.Add(name, string(value))
		err = rundir.Write(secretFile(name), value)
		if errors.Is(err, fs.ErrExist) {
			return advise(fmt.Errorf("secret %s: another secret has the same name in lower case", name), "rename one of the two")
		}
		if err != nil {
			return fmt.Errorf("secret %s: %w", name, err)
		}
	}
	return nil
}

// known is what the spec itself says that is secret: settings and variables that are called so.
func (s Spec) known() *secret.Known {
	known := &secret.Known{}
	known.AddSettings("", s.Config)
	for _, entry := range s.Environ(nil, "", "") {
		name, value, _ := strings.Cut(entry, "=")
		known.AddSettings(name, value)
	}
	return known
}

// secretFile is a secret's file in the run directory.
func secretFile(name string) string { return filepath.Join(secretsName, strings.ToLower(name)) }

// HoldsSecret says that the process was given this value of a secret.
func (i *Instance) HoldsSecret(name string, value []byte) bool {
	return i.running.rundir.Holds(secretFile(name), value)
}

// RenewSecret gives the process another value of a secret: its file is replaced as a whole.
func (i *Instance) RenewSecret(name string, value []byte) error {
	i.running.known.Add(name, string(value))
	if err := i.running.rundir.Replace(secretFile(name), value); err != nil {
		return fmt.Errorf("its new value cannot be given to the process: %w", err)
	}
	return nil
}

// HoldsSecret is true: servers elsewhere get no secrets of the host.
func (r *Remote) HoldsSecret(string, []byte) bool { return true }

// RenewSecret does nothing.
func (r *Remote) RenewSecret(string, []byte) error { return nil }
