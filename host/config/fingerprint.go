package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// Fingerprint stands for what the files behind a plugin's keys hold (its secrets, artefacts and certificates), as far as a
// [Watcher] has seen them: two configurations with the same keys and the same fingerprint run the same thing. Empty where the
// plugin has no such files.
func (c *Config) Fingerprint(plugin string) string {
	digest := sha256.New()
	seen := false
	for _, file := range c.watched(plugin) {
		if held, ok := c.contents[file.path]; ok {
			seen = true
			fmt.Fprintf(digest, "%q %q %x %q\n", file.key, file.path, held.sum, held.problem)
		}
	}
	if !seen {
		return ""
	}
	return hex.EncodeToString(digest.Sum(nil))
}
