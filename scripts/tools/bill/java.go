package main

import (
	"archive/zip"
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// pom is what is read of a project's description.
type pom struct {
	Parent struct {
		Group    string `xml:"groupId"`
		Artifact string `xml:"artifactId"`
		Version  string `xml:"version"`
	} `xml:"parent"`
	Licenses []struct {
		Name string `xml:"name"`
	} `xml:"licenses>license"`
}

// jars are libraries: GROUP/AS/FOLDERS/ARTIFACT/VERSION/ARTIFACT-VERSION.jar in a repository, which has their descriptions too.
func jars(files []string) ([]part, error) {
	var parts []part
	for _, file := range files {
		folder := filepath.Dir(file)
		version := filepath.Base(folder)
		artifact := filepath.Base(filepath.Dir(folder))
		repository, group, ok := strings.Cut(filepath.Dir(filepath.Dir(folder)), "/repository/")
		if !ok {
			return nil, fmt.Errorf("%s is not in a repository of Maven's", file)
		}
		repository += "/repository"
		if group == "io/agenthost" {
			continue
		}
		declared, err := pomLicense(repository, group, artifact, version)
		if err != nil {
			return nil, err
		}
		found, err := jarTexts(file)
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			found = standard(declared)
		}
		group = strings.ReplaceAll(group, "/", ".")
		parts = append(parts, part{
			name: group + ":" + artifact, version: version, purl: "pkg:maven/" + group + "/" + artifact + "@" + version, declared: declared, texts: found,
		})
	}
	return parts, nil
}

// pomLicense is what a description, or the one that it comes from, says.
func pomLicense(repository, group, artifact, version string) (string, error) {
	for range 10 { // ancestors
		content, err := os.ReadFile(filepath.Join(repository, group, artifact, version, artifact+"-"+version+".pom"))
		if err != nil {
			return "", err
		}
		var said pom
		if err := xml.Unmarshal(content, &said); err != nil {
			return "", fmt.Errorf("%s: %w", artifact, err)
		}
		if len(said.Licenses) > 0 {
			var names []string
			for _, license := range said.Licenses {
				names = append(names, strings.TrimSpace(license.Name))
			}
			return strings.Join(names, " OR "), nil
		}
		if said.Parent.Artifact == "" {
			break
		}
		group, artifact, version = strings.ReplaceAll(said.Parent.Group, ".", "/"), said.Parent.Artifact, said.Parent.Version
	}
	return "", nil
}

func jarTexts(file string) ([]string, error) {
	archive, err := zip.OpenReader(file)
	if err != nil {
		return nil, err
	}
	defer archive.Close()
	var found []string
	for _, entry := range archive.File {
		name := path.Base(entry.Name)
		if entry.FileInfo().IsDir() || !textFile.MatchString(name) || code.MatchString(name) {
			continue
		}
		content, err := entry.Open()
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(content)
		_ = content.Close() // what was read is checked by its sum
		if err != nil {
			return nil, fmt.Errorf("%s in %s: %w", entry.Name, file, err)
		}
		found = append(found, string(text))
	}
	return found, nil
}
