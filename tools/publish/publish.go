// Package publish puts a plugin into a registry: what `agenthost plugin push` does.
//
// What it makes is an OCI artifact: an index with a manifest for each platform, each with one archive as its layer. The same files make the
// same digest with the same agenthost, whenever and wherever they are pushed.
package publish

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/registry/remote"

	"github.com/agenthost/agenthost/host/artifact"
)

// Plugin is what is to be pushed.
type Plugin struct {
	// Reference is where to; it has a tag, and no digest.
	Reference artifact.Reference
	// Builds are the plugin's files, one for each platform.
	Builds []Build
	// Command is the program, relative to the files, and its arguments, which hosts start where their configuration names none.
	Command []string
	// Annotations are added to the manifests and the index.
	Annotations map[string]string
	// Sign, if it is not nil, signs what was pushed.
	Sign *Key
	// Registries says how the registry is reached.
	Registries artifact.Registries
	// Progress gets a line for each step.
	Progress io.Writer
}

// Build is the files of one platform.
type Build struct {
	Platform ocispec.Platform
	// Paths are folders, whose contents are taken, and files.
	Paths []string
}

// Pushed is what came of it.
type Pushed struct {
	// Reference is what to put into the configuration.
	Reference string `json:"reference"`
	// Digest is that of the index.
	Digest digest.Digest `json:"digest"`
	// Platforms are the manifests.
	Platforms []PushedPlatform `json:"platforms"`
	// Signed says that it was.
	Signed bool `json:"signed"`
}

// PushedPlatform is the manifest of one platform.
type PushedPlatform struct {
	Platform string        `json:"platform"`
	Digest   digest.Digest `json:"digest"`
	Bytes    int64         `json:"bytes"` // of the archive
}

// created is when everything was: a time of its own would make the same files another artifact.
const created = "1970-01-01T00:00:00Z"

// Push pushes the plugin.
func (p Plugin) Push(ctx context.Context) (Pushed, error) {
	if p.Reference.Tag == "" || p.Reference.Pinned() {
		return Pushed{}, fmt.Errorf("%s: give a tag to push to, and no digest", p.Reference)
	}
	repository, done, err := p.Registries.Repository(ctx, p.Reference)
	if err != nil {
		return Pushed{}, err
	}
	defer done()
	index := ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, ArtifactType: artifact.Type, Annotations: p.Annotations,
	}
	var pushed Pushed
	for _, build := range p.Builds {
		manifest, bytes, err := p.pushBuild(ctx, repository, build)
		if err != nil {
			return Pushed{}, artifact.Explain(p.Reference, err)
		}
		manifest.Platform = &build.Platform
		index.Manifests = append(index.Manifests, manifest)
		pushed.Platforms = append(pushed.Platforms, PushedPlatform{artifact.PlatformName(build.Platform), manifest.Digest, bytes})
	}
	content, err := json.Marshal(index)
	if err != nil {
		return Pushed{}, err
	}
	at := ocispec.Descriptor{MediaType: index.MediaType, Digest: digest.FromBytes(content), Size: int64(len(content))}
	if err := repository.PushReference(ctx, at, bytes.NewReader(content), p.Reference.Tag); err != nil {
		return Pushed{}, artifact.Explain(p.Reference, err)
	}
	pushed.Digest, pushed.Reference = at.Digest, p.Reference.At(at.Digest).String()
	fmt.Fprintf(p.Progress, "pushed %s\n", pushed.Reference)
	if p.Sign != nil {
		if err := p.Sign.sign(ctx, repository, p.Reference, at.Digest); err != nil {
			return Pushed{}, artifact.Explain(p.Reference, fmt.Errorf("it was pushed, but cannot be signed: %w", err))
		}
		pushed.Signed = true
		fmt.Fprintf(p.Progress, "signed %s\n", at.Digest)
	}
	return pushed, nil
}

func (p Plugin) pushBuild(ctx context.Context, to *remote.Repository, build Build) (manifest ocispec.Descriptor, size int64, err error) {
	platform := artifact.PlatformName(build.Platform)
	fmt.Fprintf(p.Progress, "packing %s …\n", platform)
	file, err := os.CreateTemp("", "agenthost-push-")
	if err != nil {
		return manifest, 0, err
	}
	defer os.Remove(file.Name()) // a temporary file
	defer file.Close()
	layer, err := pack(file, build.Paths)
	if err != nil {
		return manifest, 0, err
	}
	annotations := maps.Clone(p.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[ocispec.AnnotationCreated] = created
	if len(p.Command) > 0 {
		command, err := json.Marshal(p.Command)
		if err != nil {
			return manifest, 0, err
		}
		annotations[artifact.CommandAnnotation] = string(command)
	}
	// What a host would refuse is not pushed.
	if err := artifact.CheckArchive(layer, annotations, file.Name()); err != nil {
		return manifest, 0, fmt.Errorf("%s: %w", platform, err)
	}
	if err := p.pushBlob(ctx, to, layer, file, platform); err != nil {
		return manifest, 0, err
	}
	manifest, err = oras.PackManifest(ctx, to, oras.PackManifestVersion1_1, artifact.Type, oras.PackManifestOptions{
		Layers: []ocispec.Descriptor{layer}, ManifestAnnotations: annotations,
	})
	manifest = ocispec.Descriptor{MediaType: manifest.MediaType, Digest: manifest.Digest, Size: manifest.Size}
	return manifest, layer.Size, err
}

func (p Plugin) pushBlob(ctx context.Context, to *remote.Repository, blob ocispec.Descriptor, file *os.File, platform string) error {
	there, err := to.Blobs().Exists(ctx, blob)
	if err != nil {
		return err
	}
	if there {
		fmt.Fprintf(p.Progress, "%s is there already (%s)\n", platform, blob.Digest)
		return nil
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	fmt.Fprintf(p.Progress, "pushing %s, %d bytes …\n", platform, blob.Size)
	return to.Blobs().Push(ctx, blob, file)
}

// pack writes an archive of the files, always the same of the same ones.
func pack(to io.Writer, paths []string) (ocispec.Descriptor, error) {
	sum := digest.SHA256.Digester()
	counted := &counter{to: io.MultiWriter(to, sum.Hash())}
	packed := gzip.NewWriter(counted)
	archive := tar.NewWriter(packed)
	for _, path := range paths {
		if err := add(archive, path); err != nil {
			return ocispec.Descriptor{}, err
		}
	}
	if err := errors.Join(archive.Close(), packed.Close()); err != nil {
		return ocispec.Descriptor{}, err
	}
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: sum.Digest(), Size: counted.n}, nil
}

type counter struct {
	to io.Writer
	n  int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.n += int64(n)
	return n, err
}

// add adds the contents of a folder, in the order of their names, or a file.
func add(to *tar.Writer, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return addFile(to, path, filepath.Base(path), info)
	}
	return filepath.WalkDir(path, func(at string, found fs.DirEntry, err error) error {
		if err != nil || at == path {
			return err
		}
		name, err := filepath.Rel(path, at)
		if err != nil {
			return err
		}
		info, err := found.Info()
		if err != nil {
			return err
		}
		return addFile(to, at, filepath.ToSlash(name), info)
	})
}

func addFile(to *tar.Writer, path, name string, info fs.FileInfo) error {
	header := &tar.Header{Name: name, Mode: 0o644, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
	switch {
	case info.IsDir():
		header.Typeflag, header.Name, header.Mode = tar.TypeDir, name+"/", 0o755
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		if err != nil {
			return err
		}
		header.Typeflag, header.Linkname = tar.TypeSymlink, target
	case info.Mode().IsRegular():
		header.Typeflag, header.Size = tar.TypeReg, info.Size()
		if info.Mode()&0o111 != 0 {
			header.Mode = 0o755
		}
	default:
		return fmt.Errorf("%s is no file, folder or link: it cannot be pushed", path)
	}
	if err := to.WriteHeader(header); err != nil {
		return err
	}
	if header.Typeflag != tar.TypeReg {
		return nil
	}
	content, err := os.Open(path)
	if err != nil {
		return err
	}
	defer content.Close()
	if _, err := io.Copy(to, content); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// ParsePlatform reads os/architecture or os/architecture/variant.
func ParsePlatform(text string) (ocispec.Platform, error) {
	parts := strings.Split(text, "/")
	if len(parts) < 2 || len(parts) > 3 || slices.Contains(parts, "") {
		return ocispec.Platform{}, fmt.Errorf("%q is not a platform: it is os/architecture, such as linux/arm64", text)
	}
	platform := ocispec.Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		platform.Variant = parts[2]
	}
	return platform, nil
}
