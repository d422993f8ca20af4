package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	parsetoml "github.com/knadh/koanf/parsers/toml/v2"
	"github.com/pelletier/go-toml/v2"
)

// maxFileSize keeps a wrong path (a device, a data file) from being read whole.
const maxFileSize = 8 << 20

// readResult is a file as it was read.
type readResult struct {
	path  string
	bytes []byte
	err   error
}

func readFiles(paths []string) []readResult {
	files := make([]readResult, len(paths))
	for i, path := range paths {
		files[i].path = path
		files[i].bytes, files[i].err = readLimited(path)
	}
	return files
}

// parse gives the tree of a file.
func (f readResult) parse() (node, Errors) {
	if f.err != nil {
		return node{}, Errors{{Source: f.path, Message: f.err.Error()}}
	}
	return parse(f.path, f.bytes)
}

func readLimited(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		var pathError *os.PathError
		if errors.As(err, &pathError) {
			err = pathError.Err
		}
		return nil, fmt.Errorf("cannot read the file: %w", err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read the file: %w", err)
	}
	if len(content) > maxFileSize {
		return nil, fmt.Errorf("the file is larger than %s, which no configuration is", Size(maxFileSize))
	}
	return content, nil
}

// parse turns a file's content into a tree; path gives the format and names the source in errors.
func parse(path string, content []byte) (node, Errors) {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".yaml", ".yml":
		return parseYAML(path, content)
	case ".json":
		return parseJSON(path, content)
	case ".toml":
		return parseTOML(path, content)
	}
	return node{}, Errors{{Source: path, Message: "unknown kind of file: expected the extension .yaml, .yml, .json or .toml"}}
}

// parseJSON reads token by token, because encoding/json keeps silent about a key that is given twice, and forgets lines.
func parseJSON(source string, content []byte) (node, Errors) {
	p := &jsonParser{source: source, content: content, decoder: json.NewDecoder(bytes.NewReader(content))}
	p.decoder.UseNumber()
	root, err := p.value()
	if err == nil {
		if _, err = p.decoder.Token(); errors.Is(err, io.EOF) {
			err = nil
		} else if err == nil {
			err = errors.New("expected the end of the file after the first JSON value")
		}
	} else if errors.Is(err, io.EOF) {
		err = errors.New("expected a JSON object, got nothing")
	}
	if err != nil {
		at := p.at()
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			at.Line = lineAt(content, syntax.Offset)
		}
		p.errors = append(p.errors, KeyError{Source: source, Line: at.Line, Message: "not valid JSON: " + err.Error()})
		return node{}, p.errors
	}
	return root, p.errors
}

type jsonParser struct {
	source  string
	content []byte
	decoder *json.Decoder
	path    []string
	errors  Errors

	counted int64 // how much of the content line counts the ends of lines of
	line    int
}

// at is where the last token stands. Ends of lines are counted from that of the token before: from the start each time would take the
// square of the file's length.
func (p *jsonParser) at() Origin {
	offset := p.decoder.InputOffset()
	p.line += bytes.Count(p.content[p.counted:offset], []byte("\n"))
	p.counted = offset
	return Origin{Source: p.source, Line: 1 + p.line}
}

func (p *jsonParser) value() (node, error) {
	token, err := p.decoder.Token()
	if err != nil {
		return node{}, err
	}
	at := p.at()
	switch t := token.(type) {
	case json.Delim:
		if t == '{' {
			entries, err := p.object()
			return node{Origin: at, value: entries}, err
		}
		elements, err := p.array()
		return node{Origin: at, value: elements}, err
	case json.Number:
		if i, err := t.Int64(); err == nil {
			return node{Origin: at, value: i}, nil
		}
		f, err := t.Float64()
		return node{Origin: at, value: f}, err
	default:
		return node{Origin: at, value: t}, nil
	}
}

func (p *jsonParser) object() ([]entry, error) {
	entries := []entry{}
	seen := map[string]int{}
	for p.decoder.More() {
		token, err := p.decoder.Token()
		if err != nil {
			return nil, err
		}
		key, _ := token.(string)
		at := p.at()
		p.path = append(p.path, key)
		if line, twice := seen[key]; twice {
			p.errors = append(p.errors, duplicate(at, p.path, line))
		}
		seen[key] = at.Line
		value, err := p.value()
		p.path = p.path[:len(p.path)-1]
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry{key: key, at: at, value: value})
	}
	_, err := p.decoder.Token()
	return entries, err
}

func (p *jsonParser) array() ([]node, error) {
	elements := []node{}
	for p.decoder.More() {
		value, err := p.value()
		if err != nil {
			return nil, err
		}
		elements = append(elements, value)
	}
	_, err := p.decoder.Token()
	return elements, err
}

// parseTOML has the parser's own checks for duplicate keys; the lines of keys are not known, those of mistakes are.
func parseTOML(source string, content []byte) (node, Errors) {
	tree, err := parsetoml.Parser().Unmarshal(content)
	if err != nil {
		var decode *toml.DecodeError
		line := 0
		if errors.As(err, &decode) {
			line, _ = decode.Position()
		}
		return node{}, Errors{{Source: source, Line: line, Message: "not valid TOML: " + strings.TrimPrefix(err.Error(), "toml: ")}}
	}
	return fromGo(Origin{Source: source}, tree), nil
}

// fromGo makes a tree of a value as decoders give it.
func fromGo(at Origin, value any) node {
	switch v := value.(type) {
	case map[string]any:
		entries := make([]entry, 0, len(v))
		for _, key := range sortedKeys(v) {
			entries = append(entries, entry{key: key, at: at, value: fromGo(at, v[key])})
		}
		return node{Origin: at, value: entries}
	case []any:
		elements := make([]node, len(v))
		for i := range v {
			elements[i] = fromGo(at, v[i])
		}
		return node{Origin: at, value: elements}
	case []string:
		elements := make([]node, len(v))
		for i := range v {
			elements[i] = node{Origin: at, value: v[i]}
		}
		return node{Origin: at, value: elements}
	case int:
		return node{Origin: at, value: int64(v)}
	case time.Time:
		return node{Origin: at, value: v.Format(time.RFC3339Nano)}
	case nil, bool, int64, uint64, float64, string:
		return node{Origin: at, value: v}
	default: // TOML's local dates and times, a flag's duration: their text is what a person would have written
		return node{Origin: at, value: fmt.Sprint(v)}
	}
}

func duplicate(at Origin, path []string, line int) KeyError {
	message := "the key is given twice"
	if line > 0 {
		message += fmt.Sprintf(", first on line %d", line)
	}
	return KeyError{Source: at.Source, Line: at.Line, Key: keyName(path), Message: message}
}

func lineAt(content []byte, offset int64) int {
	return 1 + bytes.Count(content[:min(int(offset), len(content))], []byte("\n"))
}
