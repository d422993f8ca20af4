// Command image makes the images of the cluster test out of programs of this machine, in seconds: an archive that `ctr images
// import` reads. The programs find the libraries that they are linked with at the same paths; there is nothing else in it, no shell
// either. With -base they are added to an image that there is, and of the libraries those that it lacks.
//
//	image -out images.tar -pause PROGRAM -libraries-of FOLDER,… agenthost:cluster /usr/local/bin/agenthost=bin/agenthost …
package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// pauseImage is what the sandbox of every pod runs.
const pauseImage = "localhost/pause:1"

func main() {
	log.SetFlags(0)
	out := flag.String("out", "", "the archive to write")
	base := flag.String("base", "", "the archive of an image to add to")
	pause := flag.String("pause", "", "the program of the image "+pauseImage)
	linked := flag.String("libraries-of", "", "folders whose shared objects are to find their libraries in the image, too; comma-separated")
	flag.Parse()
	if err := write(*out, *base, *pause, strings.FieldsFunc(*linked, func(r rune) bool { return r == ',' }), flag.Args()); err != nil {
		log.Fatal("image: ", err)
	}
}

func write(out, base, pause string, linked, arguments []string) error {
	files := map[string]string{}
	for _, argument := range arguments[min(1, len(arguments)):] {
		path, file, ok := strings.Cut(argument, "=")
		if !ok {
			return fmt.Errorf("%q is not of the form PATH=FILE", argument)
		}
		files[path] = file
	}
	if len(files) == 0 {
		return errors.New("needs the name of an image and at least one PATH=FILE")
	}
	libraries, err := librariesOf(files, linked)
	if err != nil {
		return err
	}
	agenthost, err := imageOn(base, libraries, files)
	if err != nil {
		return err
	}
	paused, err := image(map[string]string{"/pause": pause})
	if err != nil {
		return err
	}
	if paused, err = mutate.Config(paused, v1.Config{User: "65535:65535", Entrypoint: []string{"/pause"}}); err != nil {
		return err
	}
	images := map[name.Tag]v1.Image{}
	for reference, made := range map[string]v1.Image{arguments[0]: agenthost, pauseImage: paused} {
		tag, err := name.NewTag(reference)
		if err != nil {
			return err
		}
		images[tag] = made
	}
	return tarball.MultiWriteToFile(out, images)
}

// imageOn has these files on an image from an archive, or on nothing.
func imageOn(base string, libraries, files map[string]string) (v1.Image, error) {
	if base == "" {
		made, err := image(map[string]string{"/etc/ssl/certs/ca-certificates.crt": "/etc/ssl/certs/ca-certificates.crt"}, libraries, files)
		if err != nil {
			return nil, err
		}
		return mutate.Config(made, v1.Config{
			User: "65532:65532", Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/var/lib/agenthost"},
			Entrypoint: []string{"agenthost"}, Cmd: []string{"serve", "--config", "/etc/agenthost/agenthost.yaml"},
		})
	}
	made, err := tarball.ImageFromPath(base, nil)
	if err != nil {
		return nil, err
	}
	content := mutate.Extract(made)
	defer content.Close()
	for present := tar.NewReader(content); ; {
		header, err := present.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		// In most bases /lib is a link to /usr/lib.
		path := filepath.Join("/", header.Name)
		delete(libraries, path)
		delete(libraries, strings.TrimPrefix(path, "/usr"))
	}
	return appended(made, libraries, files)
}

// image has a layer for each of these sets of files, by the paths that they have in it.
func image(layers ...map[string]string) (v1.Image, error) {
	made, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{Architecture: runtime.GOARCH, OS: "linux", RootFS: v1.RootFS{Type: "layers"}})
	if err != nil {
		return nil, err
	}
	return appended(made, layers...)
}

func appended(made v1.Image, layers ...map[string]string) (v1.Image, error) {
	for _, files := range layers {
		if len(files) == 0 {
			continue
		}
		content, err := layerOf(files)
		if err != nil {
			return nil, err
		}
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
			tarball.WithCompressionLevel(gzip.BestSpeed))
		if err != nil {
			return nil, err
		}
		if made, err = mutate.AppendLayers(made, layer); err != nil {
			return nil, err
		}
	}
	return made, nil
}

func layerOf(files map[string]string) ([]byte, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, writable := range []string{"run/", "tmp/", "var/lib/agenthost/"} {
		if err := w.WriteHeader(&tar.Header{Name: writable, Mode: 0o1777, Typeflag: tar.TypeDir}); err != nil {
			return nil, err
		}
	}
	for path, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		header := tar.Header{Name: strings.TrimPrefix(path, "/"), Mode: 0o755, Size: int64(len(content)), Typeflag: tar.TypeReg}
		if err := w.WriteHeader(&header); err != nil {
			return nil, err
		}
		if _, err := w.Write(content); err != nil {
			return nil, err
		}
	}
	return archive.Bytes(), w.Close()
}

// librariesOf are the shared libraries, at the paths where the loader looks for them.
func librariesOf(files map[string]string, folders []string) (map[string]string, error) {
	var objects []string
	for _, file := range files {
		objects = append(objects, file)
	}
	for _, folder := range folders {
		err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.Type().IsRegular() && strings.Contains(filepath.Base(path), ".so") {
				objects = append(objects, path)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	objects = slices.DeleteFunc(objects, func(path string) bool { return !isDynamic(path) })
	found := map[string]string{}
	for batch := range slices.Chunk(objects, 64) {
		// What is missing is a matter of who loads it: a wheel's objects find each other at run time.
		printed, err := exec.Command("ldd", batch...).Output()
		if err != nil && len(printed) == 0 {
			return nil, fmt.Errorf("ldd: %w", err)
		}
		lines := bufio.NewScanner(bytes.NewReader(printed))
		for lines.Scan() {
			for _, field := range strings.Fields(lines.Text()) {
				if strings.HasPrefix(field, "/lib") || strings.HasPrefix(field, "/usr/lib") {
					if path := strings.TrimSuffix(field, ":"); filepath.Ext(path) != "" {
						found[path] = path
					}
				}
			}
		}
	}
	return found, nil
}

func isDynamic(path string) bool {
	object, err := elf.Open(path)
	if err != nil {
		return false // a script, or an archive
	}
	defer object.Close()
	libraries, err := object.ImportedLibraries()
	return err == nil && len(libraries) > 0
}
