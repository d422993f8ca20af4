package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agenthost/agenthost/host/artifact"
	"github.com/agenthost/agenthost/host/secret"
	"github.com/agenthost/agenthost/proto/nearest"
)

// rule is what a value must be beyond its type. The same rule checks in Load and is published in the schema, as far as
// JSON Schema can say it: what the schema refuses, Load refuses too.
type rule struct {
	// want completes "expected …".
	want string
	// enum, if there is one, is every allowed text.
	enum []string
	// pattern, if there is one, is a regular expression (in the dialect that RE2 and ECMA 262 share) for the text.
	pattern string
	// minimum, if there is one, is the least number or, in nanoseconds, the least duration; maximum the greatest number.
	minimum, maximum *int64
	// list checks a list as a whole; each, if there is one, names the rule for its elements.
	list func([]string) error
	each string
	// numbers says that a number is as good as its digits.
	numbers bool
	// truths says that true and false are as good as on and off: readers of YAML 1.1, such as Helm, take one for the other.
	truths bool
	// more checks what a pattern cannot.
	more func(string) error
	// resolve makes a path that is relative to the configuration absolute, see besideFile.
	resolve func(folder, value string) string

	compiled *regexp.Regexp
}

// durationPattern is narrower than time.ParseDuration: no sign, no bare fraction. 0 is the one number without a unit.
const durationPattern = `^(0|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)$`

var durationRegexp = regexp.MustCompile(durationPattern)

// rules are named by the `check` and `keys` tags of Config.
var rules = map[string]*rule{
	"text":           {pattern: `^[^\x00]*$`, want: "a text without zero bytes"},
	"address":        {pattern: `^[^\s/]*:[0-9]{1,5}$`, want: "host:port such as 0.0.0.0:8000", more: checkAddress},
	"address_or_off": {pattern: `^([^\s/]*:[0-9]{1,5})?$`, want: `host:port such as 127.0.0.1:9090, or "" for none`, more: checkAddress},
	"admin_address": {
		pattern: `^(unix:(\.\.?)?/[^\x00]+|[^\s/]*:[0-9]{1,5})?$`, want: `host:port such as 127.0.0.1:9090, unix:/path for a socket, or "" for none`,
		more: checkAdminAddress, resolve: socketBesideFile,
	},
	"near_day":   {pattern: `^([0-9]{4}-[0-9]{2}-[0-9]{2})?$`, want: "a day within 90 days, such as 2026-12-31", more: checkNearDay},
	"log_level":  {enum: []string{"debug", "info", "warn", "error"}},
	"log_format": {enum: []string{"text", "json"}},
	"switch":     {enum: []string{TLSOn, TLSOff}, truths: true},

	"client_certificates": {enum: []string{Require, Optional}},
	"may":                 {enum: []string{"run", "poll", "delete", "list"}},
	"issuer":              {pattern: `^https?://[^\s/?#]+[^\s?#]*$`, want: "the issuer's URL, such as https://accounts.example.com", more: checkIssuer},
	"claim_name":          {pattern: `^[^\x00]+$`, want: "the name of a claim"},

	"status_code": {enum: []string{
		"INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "UNAUTHENTICATED", "FAILED_PRECONDITION", "OUT_OF_RANGE", "UNIMPLEMENTED",
	}},
	"plugin_name":       {pattern: `^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`, want: "a plugin name of 1 to 63 lower-case letters, digits and inner dashes"},
	"directory":         {pattern: `^[^\x00]*$`, want: "a path", resolve: besideFile},
	"path":              {pattern: `^[^\x00]+$`, want: "a path", resolve: besideFile},
	"env_name":          {pattern: `^[A-Za-z_][A-Za-z0-9_]*$`, want: "the name of an environment variable: letters, digits and underscores"},
	"plugin_env":        {pattern: `^[A-Za-z_][A-Za-z0-9_]*$`, want: "the name of an environment variable: letters, digits and underscores", more: checkPluginEnv},
	"secret_name":       {pattern: `^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`, want: "a secret name of 1 to 128 letters, digits, underscores, dashes and inner dots"},
	"secret_url":        {pattern: secret.Pattern, want: "where to read the secret, as " + secret.Sources, more: checkSecretURL, resolve: secretBesideFile},
	"sha256":            {pattern: `^[0-9a-fA-F]{64}$`, want: "a SHA-256 sum of 64 hex digits"},
	"command":           {want: "a list: the program and its arguments", list: checkCommand, resolve: besideFile},
	"image":             {pattern: artifact.Pattern, want: "registry/repository:tag@sha256:…, with a tag, a digest or both", more: checkImage},
	"registry_host":     {pattern: `^[^\s]+$`, want: "a registry's host or host:port, such as registry.local:5000", more: checkRegistryHost},
	"artifact_size":     {want: "a size from 1KiB to 1048576MiB, such as 4096MiB", minimum: number(int64(KiB)), maximum: number(int64(1048576 * MiB))},
	"addresses":         {want: "a list of host:port, such as [agents.example.com:8000]", list: checkAddresses, each: "remote_address"},
	"remote_address":    {pattern: `^[^\s/]+:[0-9]{1,5}$`, want: "host:port such as agents.example.com:8000", more: checkRemoteAddress},
	"host_name":         {pattern: `^[^\s/:]+$`, want: "a host's name such as agents.example.com"},
	"file":              {pattern: `^[^\x00]+$`, want: "the path of a file", resolve: besideFile},
	"ready":             {enum: []string{ReadyAll, ReadyAny}},
	"pin":               {enum: []string{PinAuto, PinAlways, PinNever}},
	"task_name":         {pattern: `^[^\s\x00]+$`, want: "the name of a task type, without spaces"},
	"task_types":        {want: "a list of task types, such as [bigquery_query_job_task, spark@2]", list: checkTaskTypes, each: "task_name"},
	"task_version":      {want: "a task type's version, a whole number", minimum: number(math.MinInt32), maximum: number(math.MaxInt32)},
	"flyte_name":        {pattern: `^[^\s\x00/]+$`, want: "a name as Flyte has it, without spaces or slashes"},
	"count":             {want: "a whole number of 0 (no limit) or more", minimum: number(0), maximum: number(math.MaxInt32)},
	"rate":              {want: "a number of calls per second, 0 (no limit) or more", minimum: number(0), maximum: number(1_000_000)},
	"percent":           {want: "a whole number from 0 to 100", minimum: number(0), maximum: number(100)},
	"step_percent":      {want: "a whole number from 1 to 99", minimum: number(1), maximum: number(99)},
	"error_rate":        {want: "a part of the calls from 0 to 1, such as 0.05", minimum: number(0), maximum: number(1)},
	"times":             {want: "0, or a number of at least 1, such as 2", minimum: number(0), maximum: number(1_000_000)},
	"calls":             {want: "a whole number of 0 or more", minimum: number(0), maximum: number(math.MaxInt32)},
	"positive":          {want: "a whole number of at least 1", minimum: number(1), maximum: number(math.MaxInt32)},
	"duration":          {want: "a duration of 0s or more, such as 30s or 5m", minimum: number(0)},
	"positive_duration": {want: "a duration of at least 1ms, such as 30s or 5m", minimum: number(int64(time.Millisecond))},
	"sandbox_preset":    {enum: []string{PresetNone, PresetGo, PresetJava, PresetPython, PresetRust}},
	"sandbox_user": {
		pattern: `^([a-z_][a-z0-9_.-]*|[0-9]{1,10}|[0-9]{1,10}-[0-9]{1,10})$`, numbers: true,
		want: "a user's name, an id, or a range of ids such as 70000-70999", more: checkSandboxUser,
	},
	"port":           {want: "a TCP port from 1 to 65535", minimum: number(1), maximum: number(65535)},
	"open_files":     {want: "a whole number of at least 64", minimum: number(64), maximum: number(math.MaxInt32)},
	"file_size":      {want: "a size of at least 1MiB, such as 10GiB", minimum: number(int64(MiB))},
	"sandbox_memory": {want: "a size of at least 4MiB, such as 2GiB", minimum: number(int64(4 * MiB))},
	"sandbox_pids":   {want: "a whole number of at least 8", minimum: number(8), maximum: number(4_000_000)},
	"processors":     {want: "a number of processors such as 0.5, or 0 (no limit)", minimum: number(0), maximum: number(4096)},
	"record_size":    {want: "a size from 1KiB to 1MiB, such as 8KiB", minimum: number(int64(KiB)), maximum: number(int64(MiB))},
	"memory_size":    {want: "a size of at least 1MiB, such as 256MiB", minimum: number(int64(MiB))},
	"message_size":   {want: "a size from 1KiB to 2047MiB, such as 64MiB", minimum: number(int64(KiB)), maximum: number(int64(2047 * MiB))},
}

func init() {
	for name, r := range rules {
		if r.pattern != "" {
			r.compiled = regexp.MustCompile(r.pattern)
		}
		if r.enum != nil {
			r.want = strings.Join(r.enum[:len(r.enum)-1], ", ") + " or " + r.enum[len(r.enum)-1]
		}
		rules[name] = r
	}
}

func ruleNamed(name string) *rule {
	if name == "" {
		return nil
	}
	r, ok := rules[name]
	if !ok {
		panic("config: no rule " + name) // a tag names a rule that does not exist
	}
	return r
}

// text checks a text and says what is wrong with it.
func (r *rule) text(value string) error {
	switch {
	case r == nil:
		return nil
	case r.enum != nil && !slices.Contains(r.enum, value):
		err := fmt.Sprintf("expected %s, got %q", r.want, value)
		if near := nearest.Name(value, r.enum); near != "" {
			err += fmt.Sprintf("; did you mean %s?", near)
		}
		return errors.New(err)
	case r.compiled != nil && !r.compiled.MatchString(value):
		return fmt.Errorf("expected %s, got %q", r.want, value)
	case r.more != nil:
		if err := r.more(value); err != nil {
			return fmt.Errorf("expected %s, got %q: %w", r.want, value, err)
		}
	}
	return nil
}

// number checks a number; shown is how the user wrote it.
func (r *rule) number(value int64, shown string) error {
	if r == nil || (r.minimum == nil || value >= *r.minimum) && (r.maximum == nil || value <= *r.maximum) {
		return nil
	}
	return fmt.Errorf("expected %s, got %s", r.want, shown)
}

// fraction is number for a value that need not be whole.
func (r *rule) fraction(value float64) error {
	low := r != nil && r.minimum != nil && !(value >= float64(*r.minimum)) // so that NaN is refused
	high := r != nil && r.maximum != nil && !(value <= float64(*r.maximum))
	if low || high {
		return fmt.Errorf("expected %s, got %v", r.want, value)
	}
	return nil
}

func checkAddress(value string) error {
	if value == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(value)
	if err != nil {
		var address *net.AddrError
		if errors.As(err, &address) {
			return errors.New(address.Err)
		}
		return err
	}
	if n, err := strconv.Atoi(port); err != nil || n > 65535 {
		return errors.New("a port is at most 65535")
	}
	if strings.Contains(host, ":") && net.ParseIP(strings.SplitN(host, "%", 2)[0]) == nil {
		return errors.New("the host is no IP address")
	}
	return nil
}

func checkAdminAddress(value string) error {
	path, isSocket := UnixPath(value)
	switch {
	case !isSocket:
		return checkAddress(value)
	case len(path) > maxSocketPath:
		return fmt.Errorf("the path of a socket has at most %d bytes, and this has %d", maxSocketPath, len(path))
	}
	return nil
}

// maxSocketPath is what the system takes as the path of a unix socket.
const maxSocketPath = 107

// nearDays is how far ahead a day may be.
const nearDays = 90

func checkNearDay(value string) error {
	if value == "" {
		return nil
	}
	day, err := time.Parse(time.DateOnly, value)
	if err != nil {
		return errors.New("there is no such day")
	}
	if time.Until(day) > nearDays*24*time.Hour {
		return fmt.Errorf("it is more than %d days ahead", nearDays)
	}
	return nil
}

func checkRemoteAddress(value string) error {
	if err := checkAddress(value); err != nil {
		return err
	}
	if _, port, _ := net.SplitHostPort(value); strings.Trim(port, "0") == "" {
		return errors.New("nobody can be reached at port 0")
	}
	return nil
}

func checkAddresses(addresses []string) error {
	if len(addresses) == 0 {
		return errors.New("the list is empty: expected where the agent server runs, such as [agents.example.com:8000]")
	}
	for i, address := range addresses {
		if slices.Contains(addresses[:i], address) {
			return fmt.Errorf("%s is given twice", address)
		}
	}
	return nil
}

func checkSecretURL(value string) error {
	path, isFile := strings.CutPrefix(value, "file://")
	if isFile && !filepath.IsAbs(path) && !isBesideFile(path) {
		return errors.New("a path after file:// starts with /, ./ or ../")
	}
	return nil
}

// checkPluginEnv keeps a plugin's entry from breaking the handshake by the variables of the plugin contract.
func checkPluginEnv(name string) error {
	switch name {
	case "AGENTHOST_PLUGIN", "PLUGIN_CLIENT_CERT", "PLUGIN_PROTOCOL_VERSIONS", "PLUGIN_UNIX_SOCKET_DIR":
		return errors.New("the host itself sets this variable")
	}
	return nil
}

func checkCommand(command []string) error {
	if len(command) == 0 || strings.TrimSpace(command[0]) == "" {
		return errors.New("the command is empty: expected a list of the program and its arguments, such as [/plugins/duckdb/duckdb]")
	}
	for i, argument := range command {
		if strings.ContainsRune(argument, 0) {
			return fmt.Errorf("element %d has a zero byte in it, which no program can be given", i)
		}
	}
	return nil
}

func number(n int64) *int64 { return &n }
