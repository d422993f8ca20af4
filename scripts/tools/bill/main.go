// Command bill says what is in an image: a bill of materials in CycloneDX's format, and the text of every licence.
//
//	bill -to FOLDER -name PART go PROGRAM...      the modules in programs
//	bill -to FOLDER -name PART rust TARGET CRATE  the crates in a program of the workspace here
//	bill -to FOLDER -name PART java JAR...        libraries, from a repository of Maven's
//	bill -to FOLDER -name PART python FOLDER      the packages of an environment
//	bill -to FOLDER -name PART debian ROOT NAME…  Debian's packages, whose files are below ROOT
//	bill -to FOLDER -name PART merge PART...      other parts' bills in one
//
// It writes FOLDER/PART.cdx.json, and the texts to FOLDER/licenses, where the same text of several components is one file. A component
// without a text is an error: someone has to look at it.
package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// textProperty names the files with a component's licences, relative to the bill.
const textProperty = "agenthost:licenseText"

// part is a component that is in an image, as it was found.
type part struct {
	name, version, purl string
	declared            string   // its licence as it says itself; where it does not, that of its texts
	texts               []string // what is to be passed on: licences, notices
}

func main() {
	to := flag.String("to", "", "the folder to write to")
	name := flag.String("name", "", "what the bill is about")
	flag.Parse()
	if err := run(*to, *name, flag.Args()); err != nil {
		fmt.Fprintf(os.Stderr, "bill of %s: %v\n", *name, err)
		os.Exit(1)
	}
}

func run(to, name string, args []string) error {
	if to == "" || name == "" || len(args) < 2 {
		return errors.New("usage: bill -to FOLDER -name PART go|rust|java|python|debian|merge ARGUMENT")
	}
	if args[0] == "merge" {
		return merge(to, name, args[1:])
	}
	finders := map[string]func([]string) ([]part, error){
		"go": goModules, "rust": crates, "java": jars, "python": pythonPackages, "debian": debianPackages,
	}
	find, ok := finders[args[0]]
	if !ok {
		return fmt.Errorf("%s is no kind of bill", args[0])
	}
	parts, err := find(args[1:])
	if err != nil {
		return err
	}
	return write(to, name, parts)
}

// write writes the bill and the texts, or says which parts have none.
func write(to, name string, parts []part) error {
	if err := os.MkdirAll(filepath.Join(to, "licenses"), 0o755); err != nil {
		return err
	}
	var components []cdx.Component
	var without []error
	for _, p := range parts {
		if len(p.texts) == 0 {
			without = append(without, fmt.Errorf("%s has no text of its licence (%q): add it to scripts/tools/bill/texts", p.purl, p.declared))
			continue
		}
		var properties []cdx.Property
		for _, text := range p.texts {
			file := fileOf(text)
			if err := os.WriteFile(filepath.Join(to, "licenses", file), []byte(text), 0o644); err != nil {
				return err
			}
			properties = append(properties, cdx.Property{Name: textProperty, Value: "licenses/" + file})
		}
		slices.SortFunc(properties, func(a, b cdx.Property) int { return strings.Compare(a.Value, b.Value) })
		properties = slices.Compact(properties)
		components = append(components, cdx.Component{
			Type: cdx.ComponentTypeLibrary, BOMRef: p.purl, Name: p.name, Version: p.version, PackageURL: p.purl,
			Licenses: licenses(p), Properties: &properties,
		})
	}
	if err := errors.Join(without...); err != nil {
		return err
	}
	return writeBill(to, name, components)
}

// fileOf names a text's file by what it is and by its content.
func fileOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return cmp.Or(strings.Join(identify(text), "+"), "text") + "-" + hex.EncodeToString(sum[:6]) + ".txt"
}

func licenses(p part) *cdx.Licenses {
	if p.declared != "" {
		return &cdx.Licenses{{License: &cdx.License{Name: p.declared}}}
	}
	var ids []string
	for _, text := range p.texts {
		ids = append(ids, identify(text)...)
	}
	slices.Sort(ids)
	var found cdx.Licenses
	for _, id := range slices.Compact(ids) {
		found = append(found, cdx.LicenseChoice{License: &cdx.License{ID: id}})
	}
	if len(found) == 0 {
		found = cdx.Licenses{{License: &cdx.License{Name: "see its text"}}}
	}
	return &found
}

// merge makes one bill of several in the same folder.
func merge(to, name string, parts []string) error {
	var all []cdx.Component
	for _, part := range parts {
		content, err := os.ReadFile(filepath.Join(to, part+".cdx.json"))
		if err != nil {
			return err
		}
		var bill cdx.BOM
		if err := json.Unmarshal(content, &bill); err != nil {
			return fmt.Errorf("%s: %w", part, err)
		}
		if bill.Components != nil {
			all = append(all, *bill.Components...)
		}
	}
	return writeBill(to, name, all)
}

// writeBill writes components in an order of their own, without a time or a random number: the same parts make the same bill.
func writeBill(to, name string, components []cdx.Component) error {
	slices.SortFunc(components, func(a, b cdx.Component) int { return strings.Compare(a.PackageURL, b.PackageURL) })
	components = slices.CompactFunc(components, func(a, b cdx.Component) bool { return a.PackageURL == b.PackageURL })
	bill := cdx.NewBOM()
	bill.Metadata = &cdx.Metadata{Component: &cdx.Component{Type: cdx.ComponentTypeApplication, Name: name}}
	bill.Components = &components
	file, err := os.Create(filepath.Join(to, name+".cdx.json"))
	if err != nil {
		return err
	}
	return errors.Join(cdx.NewBOMEncoder(file, cdx.BOMFileFormatJSON).SetPretty(true).Encode(bill), file.Close())
}
