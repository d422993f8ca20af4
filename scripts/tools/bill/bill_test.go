package main

import (
	"archive/zip"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

const mit = "Permission is hereby granted, free of charge, to any person obtaining a copy of this software"

func TestEveryModuleOfAProgramHasItsLicence(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	if err := run(to, "self", []string{"go", program}); err != nil {
		t.Fatal(err)
	}
	bill := read(t, to, "self")
	for _, want := range []string{"pkg:golang/github.com/CycloneDX/cyclonedx-go@", "pkg:golang/github.com/google/licensecheck@", "pkg:golang/std@1."} {
		at := slices.IndexFunc(bill, func(c cdx.Component) bool { return strings.HasPrefix(c.PackageURL, want) })
		if at < 0 {
			t.Fatalf("there is no %s in %v", want, bill)
		}
		for _, property := range *bill[at].Properties {
			if content, err := os.ReadFile(filepath.Join(to, property.Value)); err != nil || len(content) == 0 {
				t.Errorf("%s: %s: %v", want, property.Value, err)
			}
		}
		if (*bill[at].Licenses)[0].License.ID == "" {
			t.Errorf("the licence of %s was not recognised", want)
		}
	}
}

func TestAPartWithoutATextIsAnError(t *testing.T) {
	err := write(t.TempDir(), "some", []part{
		{name: "a", purl: "pkg:cargo/a@1", texts: []string{mit}}, {name: "b", purl: "pkg:cargo/b@1", declared: "Odd-1.0", texts: standard("Odd-1.0")},
	})
	if err == nil || !strings.Contains(err.Error(), `pkg:cargo/b@1 has no text of its licence ("Odd-1.0")`) || strings.Contains(err.Error(), "pkg:cargo/a") {
		t.Errorf("got %v", err)
	}
}

func TestTheSamePartsMakeTheSameBill(t *testing.T) {
	a := part{name: "a", version: "1", purl: "pkg:cargo/a@1", declared: "MIT", texts: []string{mit, "NOTICE"}}
	b := part{name: "b", version: "2", purl: "pkg:cargo/b@2", texts: []string{mit}}
	one, other := t.TempDir(), t.TempDir()
	for folder, parts := range map[string][]part{one: {a, b, a}, other: {b, a}} {
		if err := write(folder, "some", parts); err != nil {
			t.Fatal(err)
		}
	}
	first, err := os.ReadFile(filepath.Join(one, "some.cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(filepath.Join(other, "some.cdx.json"))
	if err != nil || string(first) != string(second) {
		t.Errorf("they differ (%v):\n%s\n%s", err, first, second)
	}
}

func TestBillsAreMerged(t *testing.T) {
	to := t.TempDir()
	for name, parts := range map[string][]part{
		"x": {{name: "a", purl: "pkg:cargo/a@1", texts: []string{mit}}, {name: "b", purl: "pkg:cargo/b@1", texts: []string{mit}}},
		"y": {{name: "b", purl: "pkg:cargo/b@1", texts: []string{mit}}},
	} {
		if err := write(to, name, parts); err != nil {
			t.Fatal(err)
		}
	}
	if err := run(to, "all", []string{"merge", "x", "y"}); err != nil {
		t.Fatal(err)
	}
	if bill := read(t, to, "all"); len(bill) != 2 || bill[0].Name != "a" || bill[1].Name != "b" {
		t.Errorf("got %v", bill)
	}
}

func TestAPythonPackageBringsItsTextOrNamesAStandardOne(t *testing.T) {
	environment := t.TempDir()
	site := filepath.Join(environment, "lib/python3.11/site-packages")
	put(t, filepath.Join(site, "Some_Name-1.0.dist-info/METADATA"), "Name: Some_Name\nVersion: 1.0\nLicense-Expression: MIT\n\n")
	put(t, filepath.Join(site, "Some_Name-1.0.dist-info/licenses/LICENSE"), mit)
	put(t, filepath.Join(site, "bare-2.dist-info/METADATA"), "Name: bare\nVersion: 2\nClassifier: License :: OSI Approved :: Apache Software License\n\n")
	put(t, filepath.Join(site, "agenthost-0.1.dist-info/METADATA"), "Name: agenthost\nVersion: 0.1\n\n")
	parts, err := pythonPackages([]string{environment})
	if err != nil || len(parts) != 2 {
		t.Fatalf("got %v, %v", parts, err)
	}
	if p := parts[0]; p.purl != "pkg:pypi/some-name@1.0" || p.declared != "MIT" || p.texts[0] != mit {
		t.Errorf("got %v", p)
	}
	if p := parts[1]; p.purl != "pkg:pypi/bare@2" || !slices.Equal(identify(p.texts[0]), []string{"Apache-2.0"}) {
		t.Errorf("got %v", p)
	}
}

func TestALibraryHasTheLicenceOfItsDescriptionsAncestors(t *testing.T) {
	repository := filepath.Join(t.TempDir(), "repository")
	put(t, filepath.Join(repository, "org/some/parent/1/parent-1.pom"), "<project><licenses><license><name>The MIT License</name></license></licenses></project>")
	put(t, filepath.Join(repository, "org/some/library/2/library-2.pom"),
		"<project><parent><groupId>org.some</groupId><artifactId>parent</artifactId><version>1</version></parent></project>")
	jar := filepath.Join(repository, "org/some/library/2/library-2.jar")
	for _, with := range []string{"META-INF/LICENSE.txt", "org/some/License.class"} {
		pack(t, jar, with, mit)
		parts, err := jars([]string{jar})
		if err != nil || len(parts) != 1 {
			t.Fatalf("got %v, %v", parts, err)
		}
		p := parts[0]
		if p.purl != "pkg:maven/org.some/library@2" || p.declared != "The MIT License" || len(p.texts) != 1 {
			t.Errorf("got %v", p)
		}
		if own := p.texts[0] == mit; own != strings.HasSuffix(with, ".txt") {
			t.Errorf("with %s the text is %s", with, p.texts[0])
		}
	}
}

func TestCratesAreThoseThatAreCompiledIn(t *testing.T) {
	const said = `{"packages": [{"id": "p", "name": "plugin"}], "resolve": {"nodes": [
		{"id": "p", "deps": [{"pkg": "a", "dep_kinds": [{"kind": null}]}, {"pkg": "t", "dep_kinds": [{"kind": "dev"}]}]},
		{"id": "a", "deps": [{"pkg": "b", "dep_kinds": [{"kind": "build"}, {"kind": null}]}, {"pkg": "c", "dep_kinds": [{"kind": "build"}]}]}]}}`
	var graph crateGraph
	if err := json.Unmarshal([]byte(said), &graph); err != nil {
		t.Fatal(err)
	}
	reached := graph.reach("plugin")
	for id, want := range map[string]bool{"p": true, "a": true, "b": true, "c": false, "t": false} {
		if reached[id] != want {
			t.Errorf("%s: got %v", id, reached[id])
		}
	}
}

func TestDebiansPackagesNameTheirVersions(t *testing.T) {
	root := t.TempDir()
	put(t, filepath.Join(root, "var/lib/dpkg/status.d/zlib1g"), "Package: zlib1g\nVersion: 1:1.2\nArchitecture: amd64\n")
	put(t, filepath.Join(root, "usr/share/doc/zlib1g/copyright"), "zlib's licence")
	parts, err := debianPackages([]string{root, "zlib1g"})
	if err != nil || len(parts) != 1 || parts[0].purl != "pkg:deb/debian/zlib1g@1:1.2?arch=amd64&distro=debian-12" || parts[0].texts[0] != "zlib's licence" {
		t.Errorf("got %v, %v", parts, err)
	}
}

func read(t *testing.T, folder, name string) []cdx.Component {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(folder, name+".cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	var bill cdx.BOM
	if err := json.Unmarshal(content, &bill); err != nil {
		t.Fatal(err)
	}
	return *bill.Components
}

func put(t *testing.T, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func pack(t *testing.T, jar, name, content string) {
	t.Helper()
	file, err := os.Create(jar)
	if err != nil {
		t.Fatal(err)
	}
	archive := zip.NewWriter(file)
	entry, err := archive.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := entry.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}
