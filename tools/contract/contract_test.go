package contract

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	contract "github.com/agenthost/agenthost/proto"
)

func written(t *testing.T) (dir string, protos []string) {
	t.Helper()
	dir = t.TempDir()
	files, err := Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir, slices.DeleteFunc(files, func(name string) bool { return name == Descriptors })
}

func protoc(t *testing.T, args ...string) {
	t.Helper()
	if said, err := exec.Command("protoc", args...).CombinedOutput(); err != nil {
		t.Fatalf("protoc %s: %v\n%s", strings.Join(args, " "), err, said)
	}
}

// The files say what the descriptors do, to the last option.
func TestTheFilesAreTheDescriptors(t *testing.T) {
	dir, protos := written(t)
	out := filepath.Join(t.TempDir(), "made.binpb")
	protoc(t, append([]string{"-I", dir, "--descriptor_set_out", out}, protos...)...)
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	want, got := byName(t, contract.Descriptors), byName(t, data)
	for name, file := range want {
		if !strings.HasPrefix(name, bundled) && !proto.Equal(file, got[name]) {
			t.Errorf("%s is not what its descriptor says:\n%v\n%v", name, got[name], file)
		}
	}
	if len(got) != len(protos) || got["grpc/health/v1/health.proto"] == nil || got["agenthost/plugin/v1/plugin.proto"] == nil {
		t.Errorf("of %v, %d files were made", protos, len(got))
	}
}

func byName(t *testing.T, data []byte) map[string]*descriptorpb.FileDescriptorProto {
	t.Helper()
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(data, &set); err != nil {
		t.Fatal(err)
	}
	files := map[string]*descriptorpb.FileDescriptorProto{}
	for _, file := range set.GetFile() {
		files[file.GetName()] = file
	}
	return files
}

// As docs/contract.md shows it.
func TestAGeneratorTakesTheFilesAndTheDescriptors(t *testing.T) {
	dir, protos := written(t)
	plugin, err := exec.LookPath("grpc_cpp_plugin")
	if err != nil {
		t.Fatal("grpc_cpp_plugin is missing: on Debian, apt-get install protobuf-compiler-grpc")
	}
	for _, from := range [][]string{{"-I", dir}, {"--descriptor_set_in", filepath.Join(dir, Descriptors)}} {
		out := t.TempDir()
		protoc(t, append(append(from, "--cpp_out", out, "--grpc_out", out, "--plugin=protoc-gen-grpc="+plugin), protos...)...)
		for _, want := range []string{"flyteidl/service/agent.grpc.pb.cc", "grpc/health/v1/health.grpc.pb.cc", "goplugin/goplugin.grpc.pb.cc", "agenthost/plugin/v1/plugin.grpc.pb.cc"} {
			if _, err := os.Stat(filepath.Join(out, want)); err != nil {
				t.Errorf("from %s: %v", from[0], err)
			}
		}
	}
}

func TestOursKeepTheirComments(t *testing.T) {
	dir, _ := written(t)
	source, err := os.ReadFile(filepath.Join(dir, "goplugin", "goplugin.proto"))
	if err != nil || !strings.Contains(string(source), "// GRPCController ends the process politely.") {
		t.Errorf("%v in %.200s", err, source)
	}
}
