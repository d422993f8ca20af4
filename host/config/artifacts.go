package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/agenthost/agenthost/host/artifact"
)

// Artifacts says how plugins that are images come from their registries, and where they are kept. Credentials are docker's: those of
// the config.json in $DOCKER_CONFIG or ~/.docker, with its credential helpers.
type Artifacts struct {
	// Where they are kept, by content; made if it is missing. Hosts on one machine may share it. A plugin with sandbox.user must be
	// able to pass through to it. Default: artifacts in state_dir.
	Dir string `koanf:"dir" check:"directory"`
	// The most that one may have, unpacked. A larger one is refused.
	MaxSize Size `koanf:"max_size" check:"artifact_size"`
	// The most files, folders and links that one may have. One with more is refused.
	MaxFiles int `koanf:"max_files" check:"positive"`
	// The registries, host or host:port, that speak HTTP without TLS. One on this machine's loopback needs no mention.
	PlainHTTP []string `koanf:"plain_http" check:"registry_host"`
	// Certificates, as a PEM file, by which registries are known beside those of the system.
	CA string `koanf:"ca" check:"file"`
	// How images are verified whose plugin does not say it itself.
	Verify Verify `koanf:"verify"`
}

// Verify is what an image must be signed with. Its digest is checked always.
type Verify struct {
	// A file with a public key of cosign's, cosign.pub, or several one after the other: any of them must have signed the image.
	CosignKey string `koanf:"cosign_key" check:"file"`
}

// deriveArtifacts fills in what follows from other keys.
func (c *Config) deriveArtifacts() {
	if c.Artifacts.Dir == "" {
		c.Artifacts.Dir = filepath.Join(c.StateDir, "artifacts")
	}
	for name, p := range c.Plugins {
		if p.Image != "" && p.Verify.CosignKey == "" {
			p.Verify = c.Artifacts.Verify
			c.Plugins[name] = p
		}
	}
}

// checkArtifacts finds images that their plugin could not reach, and keys without an image.
func (c *Config) checkArtifacts() Errors {
	var errs Errors
	for _, name := range sortedKeys(c.Plugins) {
		p := c.Plugins[name]
		if p.Image == "" {
			if c.isSet("plugins", name, "verify") {
				errs = append(errs, c.ErrorAt("is for a plugin with an image", "plugins", name, "verify"))
			}
			continue
		}
		if p.Sandbox.UserFor(name) != "" && isWithin(c.Artifacts.Dir, c.StateDir) {
			errs = append(errs, c.ErrorAt(fmt.Sprintf("the plugin's image is in %s, which no other user may enter: set artifacts.dir to a folder outside of state_dir", c.Artifacts.Dir),
				"plugins", name, "sandbox", "user"))
		}
		if len(p.Command) > 0 && c.isSet("plugins", name, "command") {
			if err := checkImageProgram(p.Command[0]); err != nil {
				errs = append(errs, c.ErrorAt(err.Error(), "plugins", name, "command"))
			}
		}
	}
	return errs
}

func checkImageProgram(program string) error {
	if !filepath.IsAbs(program) && !filepath.IsLocal(program) {
		return fmt.Errorf("%s leads out of the image: name the program relative to the image's root, such as bin/bigquery", program)
	}
	return nil
}

func checkImage(value string) error {
	_, err := artifact.Parse(value)
	return err
}

func checkRegistryHost(value string) error {
	if strings.Contains(value, "://") {
		return errors.New("without the scheme")
	}
	return nil
}

// MovingImages are the plugins, in order, whose image has no digest: it is what its tag leads to when the configuration is read.
func (c *Config) MovingImages() []string {
	var names []string
	for _, name := range sortedKeys(c.Plugins) {
		if ref, err := artifact.Parse(c.Plugins[name].Image); err == nil && !ref.Pinned() {
			names = append(names, name)
		}
	}
	return names
}

// SetDigest says what the image of a plugin without a digest is now.
func (c *Config) SetDigest(plugin string, sum digest.Digest) {
	if c.digests == nil {
		c.digests = map[string]digest.Digest{}
	}
	c.digests[plugin] = sum
}

// ImageOf is the image of a plugin, with its digest as far as that is known; empty where it has none.
func (c *Config) ImageOf(plugin string) string {
	image := c.Plugins[plugin].Image
	sum, known := c.digests[plugin]
	if ref, err := artifact.Parse(image); known && err == nil && !ref.Pinned() {
		return ref.At(sum).String()
	}
	return image
}
