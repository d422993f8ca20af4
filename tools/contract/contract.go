// Package contract writes the plugin contract as files from which every language's generator makes its stubs, without a checkout of
// agenthost.
package contract

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jhump/protoreflect/v2/protoprint"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	contract "github.com/agenthost/agenthost/proto"
)

// Descriptors is the name of the file with the descriptor set.
const Descriptors = "contract.binpb"

// bundled begins the names of files that come with every generator, which has their code, too.
const bundled = "google/protobuf/"

// Write writes the descriptors and the .proto files into dir, and returns the names of what it wrote, sorted. Files that are there are
// replaced.
func Write(dir string) ([]string, error) {
	files, err := sources()
	if err != nil {
		return nil, err
	}
	files[Descriptors] = contract.Descriptors
	var names []string
	for name, content := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(file, content, 0o644); err != nil { //nolint:gosec // it is for everybody to read
			return nil, err
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

// sources are the .proto files by name: ours as they are, Flyte's and gRPC's as their descriptors say.
func sources() (map[string][]byte, error) {
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(contract.Descriptors, &set); err != nil {
		return nil, fmt.Errorf("%s: %w", Descriptors, err)
	}
	linked, err := protodesc.NewFiles(&set)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", Descriptors, err)
	}
	printer := protoprint.Printer{SortElements: false, Compact: true}
	files := map[string][]byte{}
	linked.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		name := file.Path()
		if strings.HasPrefix(name, bundled) {
			return true
		}
		source, unknown := fs.ReadFile(contract.Sources, name)
		if unknown != nil { // it is not ours
			var printed strings.Builder
			if failed := printer.PrintProtoFile(file, &printed); failed != nil {
				err = fmt.Errorf("%s: %w", name, failed)
				return false
			}
			source = []byte(printed.String())
		}
		files[name] = source
		return true
	})
	return files, err
}
