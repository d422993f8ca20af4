package config

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"
)

// delim separates the levels of a key inside koanf. It must not occur in a key, and a dot does: sha256 is keyed by paths.
// Keys that contain it are refused when a layer is read.
const delim = "\x00"

// Sources is what Load reads.
type Sources struct {
	// Files are read in order; a later one overrides an earlier one.
	Files []string
	// Environ is the environment as os.Environ gives it. Nil: no variables are read.
	Environ []string
	// Flags are values by dotted key, such as "listen.grpc". A part with a dot in it can be quoted: plugins.x.sha256."/a/b.c".
	Flags map[string]any
}

// Load reads every layer and gives the configuration, or else an [Errors] with everything that is wrong with it.
func Load(sources Sources) (*Config, error) { return load(sources, readFiles(sources.Files)) }

func load(sources Sources, files []readResult) (*Config, error) {
	l := newLayers()
	for _, file := range files {
		root, errs := file.parse()
		l.add(root, errs, filepath.Dir(file.path))
	}
	for _, v := range variables(sources.Environ) {
		root, errs := v.node(l.merged.Raw())
		l.add(root, errs, ".")
	}
	for _, key := range sortedKeys(sources.Flags) {
		root, errs := flagNode(key, sources.Flags[key], l.merged.Raw())
		l.add(root, errs, ".")
	}
	c, err := l.config(sources.Environ)
	if err != nil {
		return nil, err
	}
	c.own, c.snapshot = contentsOf(files), snapshotOf(sources, files)
	return c, nil
}

// layers collects what has been read so far. koanf merges; origins remembers which layer set what.
type layers struct {
	merged  *koanf.Koanf
	origins origins
	errors  Errors
}

func newLayers() *layers {
	return &layers{merged: koanf.New(delim), origins: origins{}}
}

// add checks a layer and merges it over the others. A layer that could not be parsed comes with its errors only.
func (l *layers) add(root node, errs Errors, folder string) {
	l.errors = append(l.errors, errs...)
	if root.value == nil {
		return
	}
	r := &reader{folder: folder, origins: origins{}}
	tree, _ := r.read(root, configShape).(map[string]any)
	l.errors = append(l.errors, r.errors...)
	for _, path := range r.lists {
		maps.DeleteFunc(l.origins, func(known string, _ Origin) bool { return strings.HasPrefix(known, path+delim) })
	}
	maps.Copy(l.origins, r.origins)
	if err := l.merged.Load(confmap.Provider(tree, ""), nil); err != nil {
		l.errors = append(l.errors, KeyError{Source: root.Source, Message: fmt.Sprintf("cannot be merged: %v", err)})
	}
}

// config decodes what was merged over the defaults, and checks what only the whole can show.
func (l *layers) config(environ []string) (*Config, error) {
	c := Default()
	c.RunDir = defaultRunDir(environ)
	c.origins = l.origins
	l.decode(c)
	if c.StateDir == "" {
		c.StateDir = filepath.Join(c.RunDir, "state")
	}
	for name, plugin := range c.Plugins {
		plugin.derive()
		c.Plugins[name] = plugin
	}
	c.deriveArtifacts()
	if len(l.errors) == 0 {
		l.errors = c.check()
	} else { // the parts that did read may still miss something; a key that is wrong is not missing
		l.errors = append(l.errors, c.missing(l.errors)...)
	}
	if len(l.errors) > 0 {
		return nil, l.errors
	}
	return c, nil
}

// decode fills the configuration from the merged values. They have been checked, so a mistake here is one of this
// package's, and is reported like any other rather than hidden.
func (l *layers) decode(c *Config) {
	err := l.merged.UnmarshalWithConf("", c, koanf.UnmarshalConf{
		DecoderConfig: &mapstructure.DecoderConfig{Result: c, TagName: "koanf", ErrorUnused: true, DecodeHook: pluginsOverDefaults},
	})
	if err != nil {
		l.errors = append(l.errors, KeyError{Source: "configuration", Message: err.Error()})
	}
}

// pluginsOverDefaults puts the defaults where a plugin is about to be decoded: a map's values start from nothing otherwise.
func pluginsOverDefaults(from, to reflect.Value) (any, error) {
	if to.Type() == reflect.TypeFor[Plugin]() {
		to.Set(reflect.ValueOf(DefaultPlugin()))
	}
	return from.Interface(), nil
}

// defaultRunDir is a folder of the user's own where the system has one.
func defaultRunDir(environ []string) string {
	base := os.TempDir()
	for _, assignment := range environ {
		if dir, ok := strings.CutPrefix(assignment, "XDG_RUNTIME_DIR="); ok && filepath.IsAbs(dir) {
			base = dir
		}
	}
	return filepath.Join(base, fmt.Sprintf("agenthost-%d", os.Getuid()))
}

// ReadPluginConfig reads a file that holds nothing but a plugin's own configuration: what stands under `config:` in a
// host's file.
func ReadPluginConfig(path string) (map[string]any, error) {
	root, errs := readFiles([]string{path})[0].parse()
	return pluginConfig(root, errs, filepath.Dir(path))
}

// ParsePluginConfig is ReadPluginConfig of a text in YAML, of which JSON is a part; source is what errors call it.
func ParsePluginConfig(source, text string) (map[string]any, error) {
	root, errs := parseYAML(source, []byte(text))
	return pluginConfig(root, errs, ".")
}

func pluginConfig(root node, errs Errors, folder string) (map[string]any, error) {
	r := &reader{folder: folder, origins: origins{}}
	if root.value != nil {
		tree, _ := r.mapping(root, &shape{kind: table, elem: &shape{kind: free}}).(map[string]any)
		if errs = append(errs, r.errors...); len(errs) == 0 {
			return tree, nil
		}
	}
	return nil, errs
}
