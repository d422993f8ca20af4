package main

import (
	"archive/tar"
	"bytes"
	"io"
	"log"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func TestBuildsAtDifferentTimesMakeOneImage(t *testing.T) {
	now := time.Now()
	one := made(t, save(t, "content", now, "container-1"))
	other := made(t, save(t, "content", now.Add(time.Hour), "container-2"))
	different := made(t, save(t, "other content", now, "container-1"))
	if one != other {
		t.Errorf("the same content makes %s and %s", one, other)
	}
	if one == different {
		t.Error("other content makes the same image")
	}
}

func TestALayerOfTheCacheIsTheLayerThatWouldBeMade(t *testing.T) {
	saved := save(t, "content", time.Now(), "container")
	cache := t.TempDir()
	for range 2 {
		if err := remake(maker{time: time.Unix(1, 0), cache: cache}, filepath.Join(t.TempDir(), "layout"), "", "some:1", []string{saved}); err != nil {
			t.Fatal(err)
		}
	}
	folder := filepath.Join(t.TempDir(), "layout")
	if err := remake(maker{time: time.Unix(1, 0), cache: cache}, folder, "", "some:1", []string{saved}); err != nil {
		t.Fatal(err)
	}
	if with, without := digestOf(t, folder), made(t, saved); with != without {
		t.Errorf("with the cache it is %s, without %s", with, without)
	}
}

func TestTwoVersionsShareTheLayersThatAreEqual(t *testing.T) {
	var layers [2]v1.Hash
	for i := range layers {
		load := filepath.Join(t.TempDir(), "load.tar")
		saved := save(t, "content", time.Now(), "container")
		if err := remake(maker{time: time.Unix(int64(i), 0), cache: t.TempDir()}, filepath.Join(t.TempDir(), "layout"), load, "some:1", []string{saved}); err != nil {
			t.Fatal(err)
		}
		image, err := tarball.ImageFromPath(load, nil)
		if err != nil {
			t.Fatal(err)
		}
		all, err := image.Layers()
		if err != nil {
			t.Fatal(err)
		}
		if layers[i], err = all[0].Digest(); err != nil {
			t.Fatal(err)
		}
	}
	if layers[0] != layers[1] {
		t.Errorf("the same files are %s in one version and %s in the next", layers[0], layers[1])
	}
}

func TestTheImageRunsAsItWasBuilt(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "layout")
	load := filepath.Join(t.TempDir(), "load.tar")
	saved := save(t, "content", time.Now(), "container")
	if err := remake(maker{time: time.Unix(7, 0), cache: t.TempDir()}, folder, load, "some:1", []string{saved}); err != nil {
		t.Fatal(err)
	}
	image, err := tarball.ImageFromPath(load, nil)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Config.User != "65532" || config.Config.Labels["a"] != "b" || config.Config.Hostname != "" || config.Created.Unix() != 7 {
		t.Errorf("got %+v", config)
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	header, err := tar.NewReader(content).Next()
	if err != nil || header.Name != "file" || !header.ModTime.Equal(filesTime) || header.Mode != 0o755 {
		t.Errorf("got %+v, %v", header, err)
	}
}

func TestPush(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	folder := filepath.Join(t.TempDir(), "layout")
	if err := remake(maker{time: time.Unix(7, 0), cache: t.TempDir()}, folder, "", "some:1", []string{save(t, "content", time.Now(), "c")}); err != nil {
		t.Fatal(err)
	}
	reference := strings.TrimPrefix(server.URL, "http://") + "/some/image:1"
	if err := push(folder, reference); err != nil {
		t.Fatal(err)
	}
	at, err := name.ParseReference(reference)
	if err != nil {
		t.Fatal(err)
	}
	got, err := remote.Head(at)
	if err != nil || got.Digest.String() != digestOf(t, folder) {
		t.Errorf("got %v, %v", got, err)
	}
}

// save is an image with one file, as a builder leaves it.
func save(t *testing.T, content string, at time.Time, hostname string) string {
	t.Helper()
	var archive bytes.Buffer
	writer := tar.NewWriter(&archive)
	header := &tar.Header{Name: "file", Mode: 0o755, Size: int64(len(content)), ModTime: at, Typeflag: tar.TypeReg}
	if err := writer.WriteHeader(header); err != nil {
		t.Fatal(err)
	}
	if _, err := writer.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", "amd64", v1.Time{Time: at}
	config.Config = v1.Config{User: "65532", Hostname: hostname, Labels: map[string]string{"a": "b"}}
	config.History = []v1.History{{Created: v1.Time{Time: at}, CreatedBy: "COPY"}}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "saved.tar")
	tag, err := name.NewTag("some:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(file, tag, image); err != nil {
		t.Fatal(err)
	}
	return file
}

// made is the digest of what becomes of a saved image.
func made(t *testing.T, saved string) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "layout")
	if err := remake(maker{time: time.Unix(1, 0), cache: t.TempDir()}, folder, "", "some:1", []string{saved}); err != nil {
		t.Fatal(err)
	}
	return digestOf(t, folder)
}

func digestOf(t *testing.T, folder string) string {
	t.Helper()
	index, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}
