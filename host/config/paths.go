package config

import (
	"path/filepath"
	"strings"
)

// isBesideFile says whether a path is meant relative to the configuration that names it.
func isBesideFile(path string) bool {
	return path == "." || path == ".." || strings.HasPrefix(path, "./") || strings.HasPrefix(path, "../")
}

// besideFile makes a path that starts with ./ or ../ absolute, from the folder of the file it stands in; any other text
// stays as it is.
func besideFile(folder, path string) string {
	if !isBesideFile(path) {
		return path
	}
	joined := filepath.Join(folder, path)
	if absolute, err := filepath.Abs(joined); err == nil {
		return absolute
	}
	return joined // the working directory is gone: starting the program will say so
}

func secretBesideFile(folder, url string) string {
	if path, isFile := strings.CutPrefix(url, "file://"); isFile {
		return "file://" + besideFile(folder, path)
	}
	return url
}

func socketBesideFile(folder, address string) string {
	if path, isSocket := UnixPath(address); isSocket {
		return unixScheme + besideFile(folder, path)
	}
	return address
}
