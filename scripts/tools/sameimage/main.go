// Command sameimage makes of what a builder saved the image that every build of the same sources makes: the image has the time that is given,
// its files have one that never changes, so that two versions share the layers that are equal, and what names the machine is left out.
//
//	sameimage -time SECONDS -layout FOLDER -load FILE -name NAME -cache FOLDER SAVED...
//	sameimage push FOLDER REFERENCE
//
// SAVED are images as `docker save` writes them, one for each platform. FOLDER becomes an OCI layout with an index of them, FILE what `docker
// load` reads, of the first. A layer that was made before comes from the cache. It prints a line for each platform: its name, its digest and the
// bytes of its layers as a registry has them; then the index's digest.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func main() {
	seconds := flag.Int64("time", 0, "the time of the image, in seconds since 1970")
	folder := flag.String("layout", "", "the folder of the OCI layout")
	load := flag.String("load", "", "the file for docker load")
	tag := flag.String("name", "", "the image's name and tag")
	cache := flag.String("cache", "", "where layers are kept")
	flag.Parse()
	var err error
	switch args := flag.Args(); {
	case len(args) == 3 && args[0] == "push":
		err = push(args[1], args[2])
	case *folder == "" || *tag == "" || *cache == "" || len(args) == 0:
		err = errors.New("usage: sameimage -time SECONDS -layout FOLDER -load FILE -name NAME -cache FOLDER SAVED")
	default:
		err = remake(maker{time: time.Unix(*seconds, 0).UTC(), cache: *cache}, *folder, *load, *tag, args)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "sameimage:", err)
		os.Exit(1)
	}
}

func remake(m maker, folder, load, tag string, saved []string) error {
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for i, file := range saved {
		image, err := m.image(file)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		platform, err := describe(image)
		if err != nil {
			return err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: platform}})
		if i == 0 && load != "" {
			reference, err := name.NewTag(tag)
			if err != nil {
				return err
			}
			if err := tarball.WriteToFile(load, reference, image); err != nil {
				return err
			}
		}
	}
	if _, err := layout.Write(folder, index); err != nil {
		return err
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	fmt.Println("index", digest)
	return nil
}

// describe prints an image's line.
func describe(image v1.Image) (*v1.Platform, error) {
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	digest, err := image.Digest()
	if err != nil {
		return nil, err
	}
	layers, err := image.Layers()
	if err != nil {
		return nil, err
	}
	var size int64
	for _, layer := range layers {
		bytes, err := layer.Size()
		if err != nil {
			return nil, err
		}
		size += bytes
	}
	fmt.Printf("%s/%s %s %d\n", config.OS, config.Architecture, digest, size)
	return &v1.Platform{OS: config.OS, Architecture: config.Architecture}, nil
}

// filesTime is that of all files. It is the earliest that a zip file can hold in every time zone: Java and Python put files into such.
var filesTime = time.Date(1980, time.February, 1, 0, 0, 0, 0, time.UTC)

// maker makes images anew.
type maker struct {
	time  time.Time
	cache string
}

func (m maker) image(file string) (v1.Image, error) {
	saved, err := tarball.ImageFromPath(file, nil)
	if err != nil {
		return nil, err
	}
	config, err := saved.ConfigFile()
	if err != nil {
		return nil, err
	}
	layers, err := saved.Layers()
	if err != nil {
		return nil, err
	}
	same := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, layer := range layers {
		made, err := m.layer(layer)
		if err != nil {
			return nil, err
		}
		if same, err = mutate.Append(same, mutate.Addendum{Layer: made, MediaType: types.OCILayer}); err != nil {
			return nil, err
		}
	}
	made, err := same.ConfigFile()
	if err != nil {
		return nil, err
	}
	made = made.DeepCopy()
	made.Architecture, made.OS, made.Created = config.Architecture, config.OS, v1.Time{Time: m.time}
	// Only what says how it runs, and neither the builder's version nor the name of its container.
	made.Config = v1.Config{
		User: config.Config.User, ExposedPorts: config.Config.ExposedPorts, Env: config.Config.Env, Entrypoint: config.Config.Entrypoint,
		Cmd: config.Config.Cmd, WorkingDir: config.Config.WorkingDir, Labels: config.Config.Labels, Healthcheck: config.Config.Healthcheck,
	}
	made.History = nil
	for _, step := range config.History {
		made.History = append(made.History, v1.History{
			Created: v1.Time{Time: m.time}, CreatedBy: step.CreatedBy, Comment: step.Comment, EmptyLayer: step.EmptyLayer,
		})
	}
	return mutate.ConfigFile(same, made)
}

// layer is a layer in which every file has the same time: as in the cache, or made now.
func (m maker) layer(of v1.Layer) (v1.Layer, error) {
	id, err := of.DiffID()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(m.cache, 0o755); err != nil {
		return nil, err
	}
	file := filepath.Join(m.cache, fmt.Sprintf("%s-%d.tar.gz", id.Hex, filesTime.Unix()))
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		if err := m.make(of, file); err != nil {
			return nil, err
		}
	}
	return tarball.LayerFromFile(file, tarball.WithMediaType(types.OCILayer))
}

func (m maker) make(of v1.Layer, file string) (err error) {
	alone, err := mutate.AppendLayers(empty.Image, of)
	if err != nil {
		return err
	}
	if alone, err = mutate.Time(alone, filesTime); err != nil {
		return err
	}
	layers, err := alone.Layers()
	if err != nil {
		return err
	}
	packed, err := layers[0].Compressed()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, packed.Close()) }()
	// Under its name only when it is whole.
	part, err := os.CreateTemp(m.cache, "part-")
	if err != nil {
		return err
	}
	defer os.Remove(part.Name()) // not there any more where all went well
	if _, err := io.Copy(part, packed); err != nil {
		return errors.Join(err, part.Close())
	}
	if err := part.Close(); err != nil {
		return err
	}
	return os.Rename(part.Name(), file)
}

func push(folder, reference string) error {
	to, err := name.ParseReference(reference)
	if err != nil {
		return err
	}
	index, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		return err
	}
	if err := remote.WriteIndex(to, index, remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return err
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	fmt.Println(to.Context().Digest(digest.String()))
	return nil
}
