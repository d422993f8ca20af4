package artifact

import (
	"encoding/json"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The media types of docker, which are the OCI's under other names.
const (
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerConfig   = "application/vnd.docker.container.image.v1+json"
)

const (
	// Type is that of the artifacts that `agenthost plugin push` makes.
	Type = "application/vnd.agenthost.plugin.v1"
	// CommandAnnotation says in a manifest what is to be started: a JSON list of the program, relative to the artifact's root, and its
	// arguments.
	CommandAnnotation = "agenthost.plugin.command"
	// unpackAnnotation says that a layer is an archive of a folder, as oras marks it.
	unpackAnnotation = "io.deis.oras.content.unpack"
)

// maxLayers is how many layers an artifact may have.
const maxLayers = 256

func isIndex(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == dockerList
}

func isManifest(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageManifest || mediaType == dockerManifest
}

func isImage(m ocispec.Manifest) bool {
	return m.Config.MediaType == ocispec.MediaTypeImageConfig || m.Config.MediaType == dockerConfig
}

// forThisPlatform chooses the manifest that is for this machine.
func forThisPlatform(index []byte) (ocispec.Descriptor, error) {
	var of ocispec.Index
	if err := json.Unmarshal(index, &of); err != nil {
		return ocispec.Descriptor{}, refuse("", "its index is not JSON: %w", err)
	}
	var others []string
	for _, m := range of.Manifests {
		switch {
		case !isManifest(m.MediaType) || m.Platform == nil || m.Platform.OS == "unknown": // attestations
		case m.Platform.OS == runtime.GOOS && m.Platform.Architecture == runtime.GOARCH:
			return plain(m), nil
		default:
			others = append(others, PlatformName(*m.Platform))
		}
	}
	slices.Sort(others)
	if len(others) == 0 {
		return ocispec.Descriptor{}, refuse("", "its index names no platform")
	}
	return ocispec.Descriptor{}, refuse("push it for this platform too: `agenthost plugin push --platform` takes several",
		"it is for %s, and not for %s/%s", strings.Join(slices.Compact(others), ", "), runtime.GOOS, runtime.GOARCH)
}

// plain is a descriptor without what does not say which content it is.
func plain(d ocispec.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

// PlatformName writes a platform as docker does: linux/arm64/v8.
func PlatformName(p ocispec.Platform) string {
	name := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		name += "/" + p.Variant
	}
	return name
}

// readManifest reads a manifest, and refuses what it could not be about.
func readManifest(content []byte, limits Limits) (ocispec.Manifest, error) {
	var m ocispec.Manifest
	if err := json.Unmarshal(content, &m); err != nil {
		return m, refuse("", "its manifest is not JSON: %w", err)
	}
	if len(m.Layers) == 0 {
		return m, refuse("", "its manifest has no layers: there is nothing in it")
	}
	if len(m.Layers) > maxLayers {
		return m, refuse("", "its manifest has %d layers, and %d is the most", len(m.Layers), maxLayers)
	}
	var size int64
	for _, blob := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
		if err := blob.Digest.Validate(); err != nil || blob.Digest.Algorithm() != "sha256" {
			return m, refuse("", "its manifest names a layer by %q, which is not a SHA-256 digest", blob.Digest)
		}
		if blob.Size < 0 || blob.Size > limits.Size || size+blob.Size > limits.Size {
			return m, refuse("if it is meant to be as large, raise artifacts.max_size", "its layers have more than %d bytes (artifacts.max_size)", limits.Size)
		}
		size += blob.Size
	}
	return m, nil
}

// commandOf is what an artifact itself says is to be started; nothing where it does not say.
func commandOf(m ocispec.Manifest, config []byte, files []entry) ([]string, error) {
	if said, ok := m.Annotations[CommandAnnotation]; ok {
		var command []string
		if err := json.Unmarshal([]byte(said), &command); err != nil || len(command) == 0 {
			return nil, refuse("push it anew with --command", "its annotation %s is %q, and not a JSON list of the program and its arguments", CommandAnnotation, said)
		}
		return command, nil
	}
	if isImage(m) {
		var image ocispec.Image
		if err := json.Unmarshal(config, &image); err != nil {
			return nil, refuse("", "the image's configuration is not JSON: %w", err)
		}
		command := append(slices.Clone(image.Config.Entrypoint), image.Config.Cmd...)
		if len(command) > 0 && path.IsAbs(command[0]) { // from the image's root
			command[0] = strings.TrimLeft(path.Clean(command[0]), "/")
		}
		return command, nil
	}
	var only []string
	for _, e := range files {
		if e.kind == fileEntry && e.executable {
			only = append(only, e.path)
		}
	}
	if len(only) != 1 {
		return nil, nil
	}
	return only, nil
}

// layerKind is what a layer is.
type layerKind int

const (
	singleFile layerKind = iota
	tarball
	gzipped
	zstandard
)

func kindOf(layer ocispec.Descriptor) (layerKind, error) {
	mediaType := layer.MediaType
	switch {
	case strings.HasSuffix(mediaType, ".tar+gzip"), strings.HasSuffix(mediaType, ".tar.gzip"), mediaType == "application/gzip" && layer.Annotations[unpackAnnotation] == "true":
		return gzipped, nil
	case strings.HasSuffix(mediaType, ".tar+zstd"):
		return zstandard, nil
	case strings.HasSuffix(mediaType, ".tar"):
		if layer.Annotations[unpackAnnotation] == "true" { // oras writes gzip whatever the type says
			return gzipped, nil
		}
		return tarball, nil
	case layer.Annotations[ocispec.AnnotationTitle] != "":
		return singleFile, nil
	}
	return 0, fmt.Errorf("layer %s is a %q, which is no archive, and it has no title that would make it a file", short(layer.Digest.String()), mediaType)
}

// short is enough of a digest to find it by.
func short(sum string) string {
	_, hex, _ := strings.Cut(sum, ":")
	return hex[:min(12, len(hex))]
}
