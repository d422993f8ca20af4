package main

import (
	"bufio"
	"bytes"
	"net/mail"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// pythonPackages are those of an environment: a folder NAME-VERSION.dist-info each.
func pythonPackages(environments []string) ([]part, error) {
	var parts []part
	for _, environment := range environments {
		folders, err := filepath.Glob(filepath.Join(environment, "lib/python3*/site-packages/*.dist-info"))
		if err != nil {
			return nil, err
		}
		for _, folder := range folders {
			p, err := pythonPackage(folder)
			if err != nil {
				return nil, err
			}
			if p.name != "agenthost" {
				parts = append(parts, p)
			}
		}
	}
	return parts, nil
}

var nameRun = regexp.MustCompile(`[-_.]+`)

func pythonPackage(folder string) (part, error) {
	content, err := os.ReadFile(filepath.Join(folder, "METADATA"))
	if err != nil {
		return part{}, err
	}
	said, err := mail.ReadMessage(bufio.NewReader(bytes.NewReader(content)))
	if err != nil {
		return part{}, err
	}
	name := strings.ToLower(nameRun.ReplaceAllString(said.Header.Get("Name"), "-"))
	version := said.Header.Get("Version")
	p := part{name: name, version: version, purl: "pkg:pypi/" + name + "@" + version, declared: said.Header.Get("License-Expression")}
	if license := said.Header.Get("License"); p.declared == "" && len(license) < 60 { // some put the text there
		p.declared = license
	}
	for _, classifier := range said.Header["Classifier"] {
		if of, ok := strings.CutPrefix(classifier, "License :: OSI Approved :: "); ok && p.declared == "" {
			p.declared = of
		}
	}
	if p.texts, err = textsIn(folder); err == nil && len(p.texts) == 0 {
		p.texts = standard(p.declared)
	}
	return p, err
}
