package config

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTheFingerprintFollowsTheContentOfSecrets(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "token")
	fingerprint := func(content string) string {
		if err := os.WriteFile(secret, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		loaded := Default()
		p := DefaultPlugin()
		p.Command, p.Secrets = []string{"true"}, map[string]string{"token": "file://" + secret}
		loaded.Plugins["with"], loaded.Plugins["without"] = p, DefaultPlugin()
		NewWatcher(Sources{}, loaded)
		if got := loaded.Fingerprint("without"); got != "" {
			t.Errorf("a plugin without files has %q", got)
		}
		return loaded.Fingerprint("with")
	}
	first := fingerprint("one")
	if second := fingerprint("two"); second == first || second == "" {
		t.Errorf("another content, and still %q", second)
	}
	if again := fingerprint("one"); again != first {
		t.Errorf("the same content gave %q and %q", first, again)
	}
}
