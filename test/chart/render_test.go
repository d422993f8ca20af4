package chart

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	helmchart "helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	yamlreader "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

const (
	chartFolder = "../../charts/agenthost"
	release     = "flyteconnector"
	namespace   = "flyte"
	newest      = "v1.35.0" // of Kubernetes, that charts are rendered for
)

var loadChart = sync.OnceValues(func() (*helmchart.Chart, error) { return loader.Load(chartFolder) })

// knownTypes reads objects strictly: an unknown field is an error, and so is one that is there twice.
var knownTypes = sync.OnceValues(func() (runtime.Decoder, error) {
	known := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, monitoring.AddToScheme} {
		if err := add(known); err != nil {
			return nil, err
		}
	}
	return json.NewSerializerWithOptions(json.DefaultMetaFactory, known, known, json.SerializerOptions{Yaml: true, Strict: true}), nil
})

// rendering is a way to render the chart.
type rendering struct {
	values     string // YAML, over the chart's own
	kubernetes string // version, newest if empty
	release    string // name, release if empty
	cluster    engine.ClientProvider
	upgrade    bool
}

// rendered is what came of it.
type rendered struct {
	objects map[string]runtime.Object // by kind/name
	notes   string
}

// render renders the chart as `helm install` or `helm upgrade` would, the schema included.
func (r rendering) render() (*rendered, error) {
	chart, err := loadChart()
	if err != nil {
		return nil, err
	}
	return r.renderChart(chart)
}

func (r rendering) renderChart(chart *helmchart.Chart) (*rendered, error) {
	given, err := chartutil.ReadValues([]byte(r.values))
	if err != nil {
		return nil, err
	}
	name := r.release
	if name == "" {
		name = release
	}
	kubernetes := r.kubernetes
	if kubernetes == "" {
		kubernetes = newest
	}
	version, err := chartutil.ParseKubeVersion(kubernetes)
	if err != nil {
		return nil, err
	}
	values, err := chartutil.ToRenderValues(chart, given,
		chartutil.ReleaseOptions{Name: name, Namespace: namespace, Revision: 1, IsInstall: !r.upgrade, IsUpgrade: r.upgrade},
		&chartutil.Capabilities{KubeVersion: *version, APIVersions: chartutil.DefaultVersionSet, HelmVersion: chartutil.DefaultCapabilities.HelmVersion})
	if err != nil {
		return nil, err
	}
	var files map[string]string
	if r.cluster != nil {
		files, err = engine.RenderWithClientProvider(chart, values, r.cluster)
	} else {
		files, err = engine.Render(chart, values)
	}
	if err != nil {
		return nil, err
	}
	return read(files)
}

// read decodes the objects of rendered files.
func read(files map[string]string) (*rendered, error) {
	out := &rendered{objects: map[string]runtime.Object{}}
	decoder, err := knownTypes()
	if err != nil {
		return nil, err
	}
	for _, file := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(file, "NOTES.txt") {
			out.notes = files[file]
			continue
		}
		if strings.HasPrefix(filepath.Base(file), "_") {
			continue
		}
		documents := yamlreader.NewYAMLReader(bufio.NewReader(strings.NewReader(files[file])))
		for {
			document, err := documents.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			if empty(document) {
				continue
			}
			object, _, err := decoder.Decode(document, nil, nil)
			if err != nil {
				return nil, fmt.Errorf("%s: %w\n%s", file, err, document)
			}
			about, err := meta.Accessor(object)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			key := object.GetObjectKind().GroupVersionKind().Kind + "/" + about.GetName()
			if _, twice := out.objects[key]; twice {
				return nil, fmt.Errorf("%s: %s is there twice", file, key)
			}
			out.objects[key] = object
		}
	}
	return out, nil
}

// empty says whether a document has nothing but comments.
func empty(document []byte) bool {
	var content any
	return yaml.Unmarshal(document, &content) == nil && content == nil
}

// render renders the chart with values, which must work.
func render(t *testing.T, values string) *rendered {
	t.Helper()
	return rendering{values: values}.must(t)
}

func (r rendering) must(t *testing.T) *rendered {
	t.Helper()
	out, err := r.render()
	if err != nil {
		t.Fatalf("%v\nwith the values:\n%s", err, r.values)
	}
	return out
}

// get is the object of a kind and name.
func get[T runtime.Object](t *testing.T, in *rendered, name string) T {
	t.Helper()
	object, ok := in.objects[name].(T)
	if !ok {
		t.Fatalf("there is no %s (of the expected type) in %v", name, slices.Sorted(maps.Keys(in.objects)))
	}
	return object
}
