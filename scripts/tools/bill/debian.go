package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"os"
	"path/filepath"
)

// debianPackages are those that image/debian unpacked below a root, or the named ones of them.
func debianPackages(args []string) ([]part, error) {
	root, names := args[0], args[1:]
	if len(names) == 0 {
		return nil, errors.New("expected a root and packages")
	}
	var parts []part
	for _, name := range names {
		control, err := os.ReadFile(filepath.Join(root, "var/lib/dpkg/status.d", name))
		if err != nil {
			return nil, err
		}
		said, err := mail.ReadMessage(bufio.NewReader(bytes.NewReader(append(control, "\n\n"...))))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		version, arch := said.Header.Get("Version"), said.Header.Get("Architecture")
		p := part{name: name, version: version, purl: "pkg:deb/debian/" + name + "@" + url.PathEscape(version) + "?arch=" + arch + "&distro=debian-12"}
		// Often a link to the folder of a sibling from the same source.
		text, err := os.ReadFile(filepath.Join(root, "usr/share/doc", name, "copyright"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		if err == nil {
			p.texts = []string{string(text)}
		}
		parts = append(parts, p)
	}
	return parts, nil
}
