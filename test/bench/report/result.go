// Package report is what a run of the benchmarks found: its form as JSON, and how people read it.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"
)

// Format is the version of the JSON form. It changes when a reader of the former one would misunderstand the new one; fields may be
// added without.
const Format = 1

// Result is one run.
type Result struct {
	Format int       `json:"format"`
	Taken  time.Time `json:"taken"`
	// Scale is how much was measured: full, quick or smoke. Only the figures of a full run are to be compared with targets.
	Scale   string  `json:"scale"`
	Seconds float64 `json:"seconds"`
	Machine Machine `json:"machine"`
	// Versions are those of what was measured, by its name.
	Versions map[string]string `json:"versions"`
	Rows     []Row             `json:"rows"`
	// Comparisons are the same calls made by several contenders in alternating rounds, of which rows are made.
	Comparisons []Comparison `json:"comparisons,omitempty"`
	// Series are quantities that grow with another.
	Series []Series `json:"series,omitempty"`
}

// Machine is where it ran.
type Machine struct {
	CPU       string  `json:"cpu"`
	Cores     int     `json:"cores"`
	MemoryMiB float64 `json:"memory_mib"`
	Kernel    string  `json:"kernel"`
	// Load is the average number of processes that wanted to run in the minute before.
	Load float64 `json:"load"`
}

// Row is one of the table.
type Row struct {
	// Name is a short name, which stays.
	Name string `json:"name"`
	// What is measured.
	What string `json:"what"`
	Unit string `json:"unit"`
	// Target is what it should be; absent where it is only told.
	Target *Target `json:"target,omitempty"`
	// Measured is absent where Error is not.
	Measured *Spread `json:"measured,omitempty"`
	// Met is whether the median is as the target wants it; absent where there is none, or no measurement.
	Met *bool `json:"met,omitempty"`
	// Error is why it could not be measured.
	Error string `json:"error,omitempty"`
	// Detail are the quantities that it was made of, or that explain it, by what they are.
	Detail map[string]float64 `json:"detail,omitempty"`
	// Comparison is the name of the one that it was made of, and Of and To are the contenders that it compares.
	Comparison string `json:"comparison,omitempty"`
	Of         string `json:"of,omitempty"`
	To         string `json:"to,omitempty"`
	// Series is the name of the one that it was made of.
	Series string `json:"series,omitempty"`
}

// Target is what a row should be: at least Value, or with AtMost at most.
type Target struct {
	Value  float64 `json:"value"`
	AtMost bool    `json:"at_most,omitempty"`
}

// Met says whether a value is as wanted.
func (t Target) Met(value float64) bool {
	if t.AtMost {
		return value <= t.Value
	}
	return value >= t.Value
}

func (t Target) String() string {
	if t.AtMost {
		return fmt.Sprintf("≤ %.4g", t.Value)
	}
	return fmt.Sprintf("≥ %.4g", t.Value)
}

// Spread is what several rounds measured.
type Spread struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// SpreadOf is that of values, of which there is at least one.
func SpreadOf(values []float64) Spread {
	return Spread{Median: Median(values), Low: slices.Min(values), High: slices.Max(values)}
}

// Exactly is the spread of a single value.
func Exactly(value float64) Spread { return Spread{Median: value, Low: value, High: value} }

// Median is that of values, of which there is at least one.
func Median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[half-1] + sorted[half]) / 2
	}
	return sorted[half]
}

// Comparison is a call made by several contenders.
type Comparison struct {
	Name string `json:"name"`
	// Call is what was called.
	Call string `json:"call"`
	// Callers is how many called at once, each again when its last call was answered. Zero: PerSecond calls were made, answered or not.
	Callers    int         `json:"callers,omitempty"`
	PerSecond  int         `json:"per_second,omitempty"`
	Rounds     int         `json:"rounds"`
	Contenders []Contender `json:"contenders"`
}

// Contender is how one did.
type Contender struct {
	Name           string `json:"name"`
	CallsPerSecond Spread `json:"calls_per_second"`
	// How long at most a half, 99 % and 99.9 % of a round's calls took, in milliseconds.
	P50  Spread `json:"p50_ms"`
	P99  Spread `json:"p99_ms"`
	P999 Spread `json:"p99_9_ms"`
	// CPU is the processor time of a call, in microseconds.
	CPU CPU `json:"cpu_us"`
}

// CPU is who took processor time for a call: the measuring client, what stands between, and what answers.
type CPU struct {
	Client float64 `json:"client"`
	Host   float64 `json:"host"`
	Plugin float64 `json:"plugin"`
}

// All is what everybody took.
func (c CPU) All() float64 { return c.Client + c.Host + c.Plugin }

// Series is how a quantity grows with another.
type Series struct {
	Name string `json:"name"`
	// X and Y are what the points' coordinates are, with their units.
	X string `json:"x"`
	Y string `json:"y"`
	// Points are in the order of X.
	Points []Point `json:"points"`
	// Exponent is that of the power of X by which Y grows; 1 is linear.
	Exponent float64 `json:"exponent"`
}

// Point is one of a series.
type Point struct {
	X float64 `json:"x"`
	Y float64 `json:"y"`
}

// JSON writes the result.
func (r Result) JSON(to io.Writer) error {
	encoder := json.NewEncoder(to)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(r)
}

// Read reads a result, and refuses one of another format.
func Read(from io.Reader) (r Result, err error) {
	if err := json.NewDecoder(from).Decode(&r); err != nil {
		return r, fmt.Errorf("no result of the benchmarks: %w", err)
	}
	if r.Format != Format {
		return r, fmt.Errorf("a result of format %d, and this program reads format %d: measure anew", r.Format, Format)
	}
	return r, nil
}

// Comparison finds one by its name.
func (r Result) Comparison(name string) (Comparison, bool) {
	i := slices.IndexFunc(r.Comparisons, func(c Comparison) bool { return c.Name == name })
	if i < 0 {
		return Comparison{}, false
	}
	return r.Comparisons[i], true
}

// Contender finds one by its name.
func (c Comparison) Contender(name string) (Contender, bool) {
	i := slices.IndexFunc(c.Contenders, func(one Contender) bool { return one.Name == name })
	if i < 0 {
		return Contender{}, false
	}
	return c.Contenders[i], true
}

// Summary is the one line that says it all.
func (r Result) Summary() string {
	met, missed, failed, told := 0, 0, 0, 0
	for _, row := range r.Rows {
		switch {
		case row.Error != "":
			failed++
		case row.Met == nil:
			told++
		case *row.Met:
			met++
		default:
			missed++
		}
	}
	said := fmt.Sprintf("%d of %d targets met, %d rows without a target", met, met+missed, told)
	if failed > 0 {
		said += fmt.Sprintf(", %d rows FAILED", failed)
	}
	if r.Scale != "full" {
		said += fmt.Sprintf(" (a %s run: to be compared with nothing)", r.Scale)
	}
	return said
}
