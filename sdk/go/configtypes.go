package agent

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/invopop/jsonschema"
)

// ConfigError says what is wrong with one key of a plugin's configuration.
type ConfigError struct {
	// Key is the key inside the `config:` block, dotted, such as "limits.memory"; empty for the block as a whole.
	Key string
	// Message says what is wrong and what would be right.
	Message string
}

// Error returns the key and the message.
func (e ConfigError) Error() string {
	if e.Key == "" {
		return e.Message
	}
	return e.Key + ": " + e.Message
}

// What the types of configuration are written as, and how errors name that.
const (
	durationPattern = `^[+-]?(0|([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$`
	aDuration       = "a duration such as 30s or 1h30m"
	sizePattern     = `^[0-9]+(\.[0-9]+)? ?([kKMGT]i?)?B$`
	aSize           = "a size such as 2GiB or 512MB"
	secretPattern   = `^[A-Za-z0-9_.-]+$`
	aSecretName     = "the name of a secret"
	// notSecretName does not say what was given, which may be a secret itself.
	notSecretName = `must be the name of a secret, of letters, digits, "_", "-" and ".": what was given is not shown, as it may be a secret itself`
)

// Duration is a time.Duration that is written as "90s" or "1h30m" in configuration.
type Duration time.Duration

// Std returns the time.Duration.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String returns the duration as it is written in configuration.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText writes the duration as String does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("must be %s, got %q", aDuration, text)
	}
	*d = Duration(parsed)
	return nil
}

// JSONSchema describes the duration in a plugin's configuration schema.
func (Duration) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{
		Type: "string", Description: "A duration, such as 30s or 1h30m.",
		Pattern: durationPattern, Examples: []any{"30s", "1h30m"},
	}
}

// Size is a number of bytes that is written as "2GiB" or "512MB" in configuration.
type Size int64

var sizeUnits = []struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3}, {"B", 1},
}

// Bytes returns the number of bytes.
func (s Size) Bytes() int64 { return int64(s) }

// String returns the size in the largest binary unit that shows it exactly, such as "2GiB".
func (s Size) String() string {
	for _, unit := range sizeUnits[:4] {
		if s != 0 && int64(s)%unit.bytes == 0 {
			return strconv.FormatInt(int64(s)/unit.bytes, 10) + unit.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// MarshalText writes the size as String does.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a number with a unit: B, kB, MB, GB, TB (powers of 1000), KiB, MiB, GiB, TiB (powers of 1024).
func (s *Size) UnmarshalText(text []byte) error {
	wrong := fmt.Errorf("must be %s, got %q", aSize, text)
	for _, unit := range sizeUnits {
		number, found := strings.CutSuffix(string(text), unit.name)
		if !found {
			continue
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		bytes := value * float64(unit.bytes)
		if err != nil || !(bytes >= 0 && bytes < math.MaxInt64) {
			return wrong
		}
		*s = Size(bytes)
		return nil
	}
	return wrong
}

// JSONSchema describes the size in a plugin's configuration schema.
func (Size) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{
		Type: "string", Description: "A size, such as 2GiB or 512MB.",
		Pattern: sizePattern, Examples: []any{"2GiB", "512MB"},
	}
}

// SecretRef is a key of the configuration that names one of the plugin's secrets, as Secret finds it. A configuration that
// names one which is not there is refused.
type SecretRef string

// Get returns the secret, read anew each time.
func (r SecretRef) Get() (SecretValue, error) { return Secret(string(r)) }

// JSONSchema describes the name in a plugin's configuration schema.
func (SecretRef) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{
		Type: "string", Description: "The name of one of the plugin's secrets.", Pattern: secretPattern, Examples: []any{"warehouse_token"},
	}
}
