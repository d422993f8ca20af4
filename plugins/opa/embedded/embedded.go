// Package embedded evaluates policies in this process, with OPA as a library.
package embedded

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/loader"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/util"

	"github.com/agenthost/agenthost/plugins/opa/policy"
)

// Options say which policies there are and what they may do.
type Options struct {
	// Path is a bundle: a directory or a .tar.gz.
	Path string
	// AllowNet are the hosts that policies may call; none: policies cannot use the network.
	AllowNet []string
	// Lenient makes a built-in function that fails undefined, instead of an error.
	Lenient bool
	// FileLimit is the size of one file of the bundle at most.
	FileLimit int64
}

// Policies are compiled policies with their data. They never change.
type Policies struct {
	options      Options
	capabilities *ast.Capabilities
	compiler     *ast.Compiler
	store        storage.Store
	revision     string

	mu       sync.Mutex
	prepared map[string]rego.PreparedEvalQuery
}

// maxPrepared bounds what is kept for the paths that tasks name.
const maxPrepared = 256

// Load reads and compiles the policies. The errors of Rego name file and row, one error each, joined.
func Load(options Options) (*Policies, error) {
	p := &Policies{options: options, capabilities: capabilities(options.AllowNet), prepared: map[string]rego.PreparedEvalQuery{}}
	loaded, err := read(options, p.capabilities)
	if err != nil {
		return nil, err
	}
	modules := map[string]*ast.Module{}
	for _, module := range loaded.Modules {
		modules[module.Path] = module.Parsed
	}
	if len(modules) == 0 {
		return nil, fmt.Errorf("there is no policy (*.rego) in %s", options.Path)
	}
	p.compiler = ast.NewCompiler().WithCapabilities(p.capabilities)
	if p.compiler.Compile(modules); p.compiler.Failed() {
		return nil, located(p.compiler.Errors)
	}
	p.store = inmem.NewFromObject(loaded.Data)
	p.revision, err = revision(options.Path, loaded)
	return p, err
}

// read reads the bundle, without the policies' own tests and hidden files.
func read(options Options, capabilities *ast.Capabilities) (bundle.Bundle, error) {
	files, isDir, err := loader.GetBundleDirectoryLoaderWithFilter(options.Path, skip)
	if err != nil {
		return bundle.Bundle{}, err
	}
	reader := bundle.NewCustomReader(files.WithFollowSymlinks(true).WithSizeLimitBytes(options.FileLimit)).
		WithSizeLimitBytes(options.FileLimit).
		WithCapabilities(capabilities).
		// The host's checksums are what vouches for files.
		WithSkipBundleVerification(true)
	if isDir {
		reader = reader.WithBaseDir(options.Path)
	}
	loaded, err := reader.Read()
	switch {
	case err == nil:
		return loaded, nil
	case strings.Contains(err.Error(), "size_limit_bytes"): // OPA's key for it
		return bundle.Bundle{}, fmt.Errorf("%w: it is the plugin's config key policy_file_limit", err)
	}
	return bundle.Bundle{}, located(err)
}

// skip leaves out tests, and the copies behind the links of a mounted Kubernetes ConfigMap.
func skip(path string, info fs.FileInfo, depth int) bool {
	hidden := loader.GlobExcludeName("..*", 1)
	tests := loader.GlobExcludeName("*_test.rego", 0)
	return hidden(path, info, depth) || !info.IsDir() && tests(path, info, depth)
}

// capabilities are OPA's own, without the network unless hosts are allowed.
func capabilities(allowNet []string) *ast.Capabilities {
	all := ast.CapabilitiesForThisVersion()
	all.AllowNet = slices.Concat([]string{}, allowNet)
	if len(allowNet) > 0 {
		return all
	}
	all.Builtins = slices.DeleteFunc(slices.Clone(all.Builtins), func(b *ast.Builtin) bool { return reachesNetwork(b.Name) })
	return all
}

func reachesNetwork(builtin string) bool {
	return builtin == "http.send" || builtin == "net.lookup_ip_addr"
}

// located gives each error of Rego on its own.
func located(err error) error {
	var many ast.Errors
	if !errors.As(err, &many) {
		return err
	}
	var all []error
	for _, one := range many {
		where := "the policies"
		if one.Location != nil {
			where = fmt.Sprintf("%s:%d", one.Location.File, one.Location.Row)
		}
		message := one.Message
		if name, undefined := strings.CutPrefix(message, "undefined function "); undefined && reachesNetwork(name) {
			message += ": policies may use the network only where the config key allow_net names hosts"
		}
		all = append(all, fmt.Errorf("%s: %s: %s", where, one.Code, message))
	}
	return errors.Join(all...)
}

// revision is the one that the bundle names, or else a digest of what is in it, wherever it lies.
func revision(base string, loaded bundle.Bundle) (string, error) {
	if loaded.Manifest.Revision != "" {
		return loaded.Manifest.Revision, nil
	}
	digest := sha256.New()
	slices.SortFunc(loaded.Modules, func(a, b bundle.ModuleFile) int { return strings.Compare(a.Path, b.Path) })
	for _, module := range loaded.Modules {
		fmt.Fprintf(digest, "%s %d\n%s", strings.TrimPrefix(module.Path, base), len(module.Raw), module.Raw)
	}
	data, err := json.Marshal(loaded.Data)
	if err != nil {
		return "", fmt.Errorf("the data beside the policies: %w", err)
	}
	digest.Write(data)
	return "sha256:" + hex.EncodeToString(digest.Sum(nil))[:12], nil
}

// Revision names the version of the policies.
func (p *Policies) Revision() string { return p.revision }

// Close does nothing.
func (p *Policies) Close() {}

// Decide evaluates one policy.
func (p *Policies) Decide(ctx context.Context, question policy.Question) (policy.Answer, error) {
	query, err := p.prepare(ctx, question.Path)
	if err != nil {
		return policy.Answer{}, failure(ctx, question.Path, err)
	}
	var input any
	if err := util.UnmarshalJSON(question.Input, &input); err != nil {
		return policy.Answer{}, policy.Broken("the input is no JSON: %w", err)
	}
	measured := metrics.New()
	results, err := query.Eval(ctx, rego.EvalInput(input), rego.EvalMetrics(measured))
	if err != nil {
		return policy.Answer{}, failure(ctx, question.Path, err)
	}
	answer := policy.Answer{Revision: p.revision, Metrics: measured.All()}
	if len(results) == 0 {
		return answer, nil
	}
	answer.Result, err = json.Marshal(results[0].Expressions[0].Value)
	if err != nil {
		return policy.Answer{}, policy.Broken("the decision of %s is no JSON: %w", question.Path, err)
	}
	return answer, nil
}

func (p *Policies) prepare(ctx context.Context, path policy.Path) (rego.PreparedEvalQuery, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := path.String()
	if ready, ok := p.prepared[key]; ok {
		return ready, nil
	}
	ref := ast.Ref{ast.DefaultRootDocument}
	for _, part := range path {
		ref = append(ref, ast.StringTerm(part))
	}
	ready, err := rego.New(
		rego.ParsedQuery(ast.NewBody(ast.NewExpr(ast.NewTerm(ref)))),
		rego.Compiler(p.compiler),
		rego.Store(p.store),
		rego.Capabilities(p.capabilities),
		rego.StrictBuiltinErrors(!p.options.Lenient),
	).PrepareForEval(ctx)
	if err != nil {
		return ready, err
	}
	if len(p.prepared) >= maxPrepared {
		clear(p.prepared)
	}
	p.prepared[key] = ready
	return ready, nil
}

func failure(ctx context.Context, path policy.Path, err error) error {
	if ctx.Err() != nil || topdown.IsCancel(err) {
		return fmt.Errorf("evaluating %s: %w", path, errors.Join(context.Cause(ctx), err))
	}
	var evaluation *topdown.Error
	if errors.As(err, &evaluation) && evaluation.Location != nil {
		at := evaluation.Location
		return policy.Broken("the policy %s cannot be evaluated: %s:%d: %s: %s", path, at.File, at.Row, evaluation.Code, evaluation.Message)
	}
	return policy.Broken("the policy %s cannot be evaluated: %w", path, located(err))
}
