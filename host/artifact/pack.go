package artifact

import (
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Explain makes an error of what happened to a reference, with what to do about it: an *Error.
func Explain(ref Reference, err error) error { return explain(ref, err) }

// CheckArchive says why a store would refuse an artifact with one layer, an archive in a file; or why what its annotations say is to be
// started is not in it.
func CheckArchive(layer ocispec.Descriptor, annotations map[string]string, file string) error {
	m := ocispec.Manifest{Layers: []ocispec.Descriptor{layer}, Annotations: annotations}
	entries, err := makePlan(m, func(ocispec.Descriptor) string { return file }, DefaultLimits, false)
	if err != nil {
		return err
	}
	command, err := commandOf(m, nil, entries)
	if err != nil || annotations[CommandAnnotation] == "" {
		return err
	}
	if len(command) > 1 && !strings.Contains(command[0], "/") {
		return nil // it may be an interpreter in the host's PATH
	}
	if !slices.ContainsFunc(entries, func(e entry) bool {
		return e.path == command[0] && (e.kind == fileEntry && e.executable || e.kind == linkEntry)
	}) {
		return refuse("", "there is no program %q among the files: --command names it relative to them", command[0])
	}
	return nil
}
