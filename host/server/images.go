package server

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/agenthost/agenthost/host/artifact"
	"github.com/agenthost/agenthost/host/config"
)

// OpenArtifacts opens the store of the plugins that are images, for the host with these sources.
func OpenArtifacts(settings *config.Config, sources config.Sources, log *slog.Logger) (*artifact.Store, error) {
	// The store lets others pass, and so would a state directory that it made on the way, which no host would then take.
	if below, err := filepath.Rel(settings.StateDir, settings.Artifacts.Dir); err == nil && filepath.IsLocal(below) {
		if err := os.MkdirAll(settings.StateDir, 0o700); err != nil {
			return nil, fmt.Errorf("state_dir: %w", err)
		}
	}
	return artifact.Open(artifact.Options{
		Dir: settings.Artifacts.Dir, Host: path.Base(memoryOf(sources)), Registries: RegistriesOf(settings.Artifacts), Log: log,
		Limits: artifact.Limits{Size: int64(settings.Artifacts.MaxSize), Files: settings.Artifacts.MaxFiles},
	})
}

// RegistriesOf is how the configuration says that registries are reached.
func RegistriesOf(settings config.Artifacts) artifact.Registries {
	return artifact.Registries{PlainHTTP: settings.PlainHTTP, CA: settings.CA}
}

// resolveTimeout is how long a registry is asked where a tag leads to. All others wait for it.
const resolveTimeout = 5 * time.Second

// ResolveImages finds out what images without a digest are now. Where that cannot be known it is what it was last; and where that is not
// known either, it is found out when the plugin is started.
func ResolveImages(ctx context.Context, settings *config.Config, store *artifact.Store, log *slog.Logger) {
	ctx, cancel := context.WithTimeoutCause(ctx, resolveTimeout, fmt.Errorf("no answer within %v", resolveTimeout))
	defer cancel()
	var mu sync.Mutex
	var all sync.WaitGroup
	sums := map[string]digest.Digest{}
	for _, name := range settings.MovingImages() {
		all.Go(func() {
			ref, err := artifact.Parse(settings.Plugins[name].Image)
			if err == nil {
				ref, err = store.Resolve(ctx, name, ref)
			}
			if err != nil {
				log.Warn("it is not known what the image is now", "plugin", name, "error", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			sums[name] = ref.Digest
		})
	}
	all.Wait()
	for name, sum := range sums {
		settings.SetDigest(name, sum)
	}
}
