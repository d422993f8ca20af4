package config

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// Size is a number of bytes. As text it is a number with an optional unit: 1048576, 64MiB, 1.5GB.
type Size int64

// The binary units. In a file they may also be written as Kubernetes does: Ki, Mi, Gi, Ti.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
	TiB Size = 1 << 40
)

// sizePattern is shared by ParseSize and the JSON Schema, so that they agree.
const sizePattern = `^([0-9]+(?:\.[0-9]+)?) ?([KMGT]i?B?|k|kB|B)?$`

var (
	sizeRegexp = regexp.MustCompile(sizePattern)
	sizeUnits  = map[string]Size{
		"": 1, "B": 1,
		"K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
		"Ki": KiB, "Mi": MiB, "Gi": GiB, "Ti": TiB,
	}
)

// ParseSize reads a size such as 64MiB, 512K or 1048576.
func ParseSize(s string) (Size, error) {
	m := sizeRegexp.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("expected a size such as 64MiB, got %q", s)
	}
	unit := strings.ToUpper(strings.TrimSuffix(m[2], "B"))
	unit = strings.ReplaceAll(unit, "I", "i")
	number, err := strconv.ParseFloat(m[1], 64)
	if err != nil || number*float64(sizeUnits[unit]) >= math.MaxInt64 {
		return 0, fmt.Errorf("size %q is too large", s)
	}
	return Size(number * float64(sizeUnits[unit])), nil
}

// String writes the size in the largest binary unit that divides it.
func (s Size) String() string {
	for _, u := range []struct {
		size Size
		name string
	}{{TiB, "TiB"}, {GiB, "GiB"}, {MiB, "MiB"}, {KiB, "KiB"}} {
		if s != 0 && s%u.size == 0 {
			return fmt.Sprintf("%d%s", s/u.size, u.name)
		}
	}
	return fmt.Sprintf("%dB", s)
}

// MarshalText and UnmarshalText make a Size its text form in JSON and YAML.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (s *Size) UnmarshalText(text []byte) error {
	size, err := ParseSize(string(text))
	if err != nil {
		return err
	}
	*s = size
	return nil
}
