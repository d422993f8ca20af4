package agent

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"github.com/agenthost/agenthost/plugins/duckdb/engine"
	"github.com/agenthost/agenthost/plugins/duckdb/jobs"
	"github.com/agenthost/agenthost/plugins/duckdb/storage"
	sdk "github.com/agenthost/agenthost/sdk/go"
)

// Config is the plugin's `config:` block.
type Config struct {
	Jobs           string       `json:"jobs,omitempty" jsonschema:"description=Where jobs are kept that all replicas of the host share: a prefix in a bucket\\, such as s3://bucket/agenthost/duckdb (also gs:// and azblob://)\\, or a directory on a volume that all of them write (an absolute path or file://). Default: state_dir."`
	Lease          sdk.Duration `json:"lease,omitempty" jsonschema:"description=How long a replica may give no sign of life before another takes its jobs over. At least 1s. Default: 20s."`
	StoreGoneAfter sdk.Duration `json:"store_gone_after,omitempty" jsonschema:"description=How long a job is RUNNING for a replica that cannot reach where it is kept; then it is RETRYABLE_FAILED. Default: 1h."`
	StateDir       string       `json:"state_dir,omitempty" jsonschema:"description=Directory in which jobs are kept so that they outlive the process. Each plugin entry of the host needs its own. Default: agenthost/duckdb below the user's state directory."`
	ScratchDir     string       `json:"scratch_dir,omitempty" jsonschema:"description=Directory for copies of inputs\\, spilled data and results on their way out. Default: scratch in state_dir."`
	MemoryLimit    sdk.Size     `json:"memory_limit,omitempty" jsonschema:"description=Memory of one query before it spills to disk."`
	SpillLimit     sdk.Size     `json:"spill_limit,omitempty" jsonschema:"description=Disk that one query may spill to. 0B: as much as there is."`
	Threads        int          `json:"threads,omitempty" jsonschema:"minimum=0,description=Threads of one query. 0: one for each core."`
	MaxConcurrent  int          `json:"max_concurrent,omitempty" jsonschema:"minimum=1,description=Queries that run at a time. The others are QUEUED."`
	QueryTimeout   sdk.Duration `json:"query_timeout,omitempty" jsonschema:"description=A query that runs longer fails. 0s: no limit."`
	InlineLimit    sdk.Size     `json:"inline_limit,omitempty" jsonschema:"description=Size of all outputs of a query that are values and not a dataset. FlytePropeller itself refuses more than 4MiB."`
	OffloadedLimit sdk.Size     `json:"offloaded_limit,omitempty" jsonschema:"description=Size of all inputs of a query that are values and that Flyte has put into storage (literal offloading). They are held in memory."`
	MaxAttempts    int          `json:"max_attempts,omitempty" jsonschema:"minimum=1,description=How often a query is begun again after the plugin's process died while it ran."`
	MaxStops       int          `json:"max_stops,omitempty" jsonschema:"minimum=1,description=How often a query is begun again after the plugin was stopped while it ran\\, as for a new version or for its memory. Default: 30."`
	Retention      Retention    `json:"retention,omitzero" jsonschema:"description=How long finished jobs are remembered."`

	ExternalAccess bool     `json:"external_access,omitempty" jsonschema:"description=Lets SQL read and write whatever the plugin's process can. Only for trusted authors."`
	AllowPaths     []string `json:"allow_paths,omitempty" jsonschema:"description=Directories that SQL may read and write when external_access is off. Absolute."`
	LocalInputs    *bool    `json:"local_inputs,omitempty" jsonschema:"description=Lets tasks have files of the plugin's machine as inputs. Turn it off where tasks' authors may not read that machine. Default: true."`

	Storage map[string]map[string]string `json:"storage,omitempty" jsonschema:"description=Parameters of gocloud.dev by scheme: s3\\, gs or azblob. Such as s3: {endpoint: http://minio:9000\\, region: eu-central-1}."`
}

// Retention is how long finished jobs are remembered.
type Retention struct {
	MaxAge  sdk.Duration `json:"max_age,omitempty" jsonschema:"description=Age at which a finished job is forgotten. Default: 168h."`
	MaxJobs int          `json:"max_jobs,omitempty" jsonschema:"minimum=1,description=Finished jobs that are remembered at most. Default: 10000."`
}

// SetDefaults fills in what holds where the block says nothing.
func (c *Config) SetDefaults() {
	c.MemoryLimit = 1 << 30
	c.MaxConcurrent = 4
	c.InlineLimit = 2 << 20
	c.OffloadedLimit = 128 << 20
	c.MaxAttempts = 3
	c.MaxStops = jobs.DefaultStops
	c.Lease = sdk.Duration(jobs.DefaultLease)
	c.StoreGoneAfter = sdk.Duration(time.Hour)
	c.Retention = Retention{MaxAge: sdk.Duration(7 * 24 * time.Hour), MaxJobs: 10_000}
}

// Validate reports what the schema cannot.
func (c *Config) Validate() []sdk.ConfigError {
	var wrong []sdk.ConfigError
	refuse := func(key, format string, args ...any) {
		wrong = append(wrong, sdk.ConfigError{Key: key, Message: fmt.Sprintf(format, args...)})
	}
	for key, path := range map[string]string{"state_dir": c.StateDir, "scratch_dir": c.ScratchDir} {
		if path != "" && !filepath.IsAbs(path) {
			refuse(key, "must be an absolute path, got %q", path)
		}
	}
	if c.Jobs != "" {
		if _, err := storage.Parse(c.Jobs); err != nil {
			refuse("jobs", "%v", err)
		}
	}
	if c.Lease.Std() < time.Second {
		refuse("lease", "must be at least 1s, got %s", c.Lease)
	}
	if c.StoreGoneAfter <= 0 {
		refuse("store_gone_after", "must be more than 0s, got %s", c.StoreGoneAfter)
	}
	for i, path := range c.AllowPaths {
		if !filepath.IsAbs(path) {
			refuse(fmt.Sprintf("allow_paths.%d", i), "must be an absolute path, got %q", path)
		}
	}
	const least = 16 << 20
	if c.MemoryLimit < least {
		refuse("memory_limit", "must be at least %s, got %s", sdk.Size(least), c.MemoryLimit)
	}
	if c.QueryTimeout < 0 {
		refuse("query_timeout", "must not be negative, got %s", c.QueryTimeout)
	}
	return wrong
}

func (c *Config) limits() engine.Limits {
	deny := []string{c.StateDir, c.ScratchDir, secretsDir()}
	var denyObjects []string
	switch shared, err := storage.Parse(c.Jobs); {
	case err != nil: // there is none: Validate has seen it
	case shared.IsLocal():
		deny = append(deny, shared.Path)
	default:
		denyObjects = append(denyObjects, c.Jobs)
	}
	for _, path := range deny {
		if actual, err := filepath.EvalSymlinks(path); err == nil && actual != path {
			deny = append(deny, actual)
		}
	}
	return engine.Limits{
		Memory:         c.MemoryLimit.Bytes(),
		Spill:          c.SpillLimit.Bytes(),
		Threads:        c.Threads,
		Timeout:        c.QueryTimeout.Std(),
		Scratch:        c.ScratchDir,
		Inline:         c.InlineLimit.Bytes(),
		Offloaded:      c.OffloadedLimit.Bytes(),
		ExternalAccess: c.ExternalAccess,
		AllowPaths:     c.AllowPaths,
		LocalInputs:    c.LocalInputs == nil || *c.LocalInputs,
		DenyInputs:     deny,
		DenyObjects:    denyObjects,
	}
}

// complete chooses the directories that the block leaves open.
func (c *Config) complete() error {
	if c.StateDir == "" {
		dir, err := defaultStateDir()
		if err != nil {
			return sdk.ConfigError{Key: "state_dir", Message: err.Error()}
		}
		c.StateDir = dir
	}
	if err := os.MkdirAll(c.StateDir, 0o700); err != nil {
		return sdk.ConfigError{Key: "state_dir", Message: err.Error()}
	}
	if c.ScratchDir == "" {
		c.ScratchDir = filepath.Join(c.StateDir, "scratch")
	}
	return nil
}

// defaultStateDir must give the same answer to the next process, or it would not find the jobs. The host passes few
// environment variables on, so the home directory is also looked up without them.
func defaultStateDir() (string, error) {
	const name = "agenthost/duckdb"
	var candidates []string
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		candidates = append(candidates, filepath.Join(dir, name))
	}
	home := os.Getenv("HOME")
	if home == "" {
		if current, err := user.Current(); err == nil {
			home = current.HomeDir
		}
	}
	if filepath.IsAbs(home) {
		candidates = append(candidates, filepath.Join(home, ".local/state", name))
	}
	// A container's user often has no home to write to.
	candidates = append(candidates, filepath.Join("/var/tmp", "agenthost-duckdb-"+strconv.Itoa(os.Getuid())))
	var last error
	for _, dir := range candidates {
		if last = os.MkdirAll(dir, 0o700); last != nil {
			continue
		}
		if last = writable(dir); last == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("found no directory to keep jobs in, so name one: %w", last)
}

func writable(dir string) error {
	file, err := os.CreateTemp(dir, ".write-*")
	if err != nil {
		return err
	}
	defer file.Close()
	return os.Remove(file.Name())
}
