package taskrun

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/types/known/structpb"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
	"github.com/agenthost/agenthost/sdk/go/literal"
	"github.com/agenthost/agenthost/tools/terminal"
)

// Result is how a task ended.
type Result struct {
	// Phase is a terminal one; Message is the agent's word on it.
	Phase   core.TaskExecution_Phase
	Message string
	// Error is what a failed agent said beyond the message; may be nil.
	Error *admin.AgentError
	// Sync says that it was one call.
	Sync    bool
	Elapsed time.Duration
	// Outputs is nil where there are none.
	Outputs      *core.LiteralMap
	OutputPrefix string
	Links        []Link
	CustomInfo   *structpb.Struct
	// Note is what is odd about a success, such as outputs that are nowhere.
	Note string

	declared *core.VariableMap
}

// Link is a place to look at for people, such as a console.
type Link struct {
	Name string `json:"name"`
	URI  string `json:"uri"`
}

// Succeeded says whether the task did what it was asked to.
func (r *Result) Succeeded() bool { return r.Phase == core.TaskExecution_SUCCEEDED }

// PhaseName is the phase in Flyte's words.
func (r *Result) PhaseName() string { return pluginv1.PhaseName(r.Phase) }

// Failure is what a failed task failed of.
func (r *Result) Failure() string {
	message := r.Message
	if code := r.Error.GetCode(); code != "" && !strings.Contains(message, code) {
		message = strings.TrimSpace(code + ": " + message)
	}
	if message == "" {
		message = "the agent gave no reason"
	}
	return fmt.Sprintf("the task ended %s after %s: %s", r.PhaseName(), Seconds(r.Elapsed), message)
}

// Print writes the outputs for a person, with up to rows rows of each dataset whose files are at hand.
func (r *Result) Print(out io.Writer, rows int) {
	for _, link := range r.Links {
		fmt.Fprintf(out, "%s: %s\n", terminal.Line(link.Name), terminal.Line(link.URI))
	}
	if len(r.Outputs.GetLiterals()) == 0 {
		fmt.Fprintln(out, "(no outputs)")
	}
	for _, name := range sorted(r.Outputs.GetLiterals()) {
		value := decode(r.Outputs.GetLiterals()[name])
		if dataset, ok := value.(literal.StructuredDataset); ok {
			printDataset(out, name, dataset, rows)
			continue
		}
		encoded, _ := json.MarshalIndent(plainValue(value, 0), "", "  ") // of plain values: cannot fail
		fmt.Fprintf(out, "%s = %s\n", terminal.Line(name), encoded)
	}
	if r.Note != "" {
		fmt.Fprintf(out, "note: %s\n", r.Note)
	}
}

func printDataset(out io.Writer, name string, dataset literal.StructuredDataset, rows int) {
	fmt.Fprintf(out, "%s = %s dataset at %s\n", terminal.Line(name), terminal.Line(orElse(dataset.Format, "a")), terminal.Line(dataset.URI))
	preview, err := newPreview(dataset, rows)
	columns := columnNames(dataset.Columns)
	if err != nil {
		if len(columns) > 0 {
			fmt.Fprintf(out, "  columns: %s\n", strings.Join(columns, ", "))
		}
		fmt.Fprintf(out, "  (no rows shown: %v)\n", err)
		return
	}
	w := table.NewWriter()
	w.SetStyle(table.StyleLight)
	w.Style().Format.Header = text.FormatDefault
	header := make(table.Row, len(preview.Columns))
	for i, column := range preview.Columns {
		header[i] = terminal.Line(column)
		if len(columns) == len(header) && strings.HasPrefix(columns[i], column+" ") {
			header[i] = terminal.Line(columns[i])
		}
	}
	w.AppendHeader(header)
	for _, row := range preview.Rows {
		cells := make(table.Row, len(row))
		for i, cell := range row {
			cells[i] = cellText(cell)
		}
		w.AppendRow(cells)
	}
	fmt.Fprintln(out, w.Render())
	if shown := int64(len(preview.Rows)); preview.Total > shown {
		fmt.Fprintf(out, "%d of %d rows\n", shown, preview.Total)
	} else if preview.Total < 0 {
		fmt.Fprintf(out, "the first %d rows\n", shown)
	} else {
		fmt.Fprintf(out, "%d rows\n", shown)
	}
}

const maxCell = 60

func cellText(cell any) string {
	written := terminal.Clean(wholeText(cell))
	if runes := []rune(written); len(runes) > maxCell {
		written = string(runes[:maxCell-1]) + "…"
	}
	return strings.ReplaceAll(written, "\n", "⏎")
}

func wholeText(cell any) string {
	switch value := cell.(type) {
	case nil:
		return "NULL"
	case string:
		return value
	}
	encoded, err := json.Marshal(cell)
	if err != nil {
		return fmt.Sprint(cell)
	}
	return string(encoded)
}

// number is a float as JSON can say it: what is none there, as text.
func number(float float64, bits int) any {
	switch {
	case math.IsNaN(float) || math.IsInf(float, 0):
		return strconv.FormatFloat(float, 'g', -1, 64)
	case bits == 32: // the digits that tell it, not those that a float of 64 bits would need
		return json.Number(strconv.FormatFloat(float, 'g', -1, 32))
	}
	return float
}

// Report is the result as JSON has it.
type Report struct {
	Phase          string          `json:"phase"`
	Message        string          `json:"message,omitempty"`
	ErrorCode      string          `json:"error_code,omitempty"`
	Sync           bool            `json:"sync"`
	ElapsedSeconds float64         `json:"elapsed_seconds"`
	OutputPrefix   string          `json:"output_prefix"`
	Outputs        map[string]any  `json:"outputs"`
	Links          []Link          `json:"links,omitempty"`
	CustomInfo     json.RawMessage `json:"custom_info,omitempty"`
	Note           string          `json:"note,omitempty"`
}

// Report gives the result for programs, with up to rows rows of each dataset whose files are at hand.
func (r *Result) Report(rows int) Report {
	report := Report{
		Phase: r.PhaseName(), Message: r.Message, ErrorCode: r.Error.GetCode(), Sync: r.Sync, ElapsedSeconds: r.Elapsed.Seconds(),
		OutputPrefix: r.OutputPrefix, Outputs: map[string]any{}, Links: r.Links, Note: r.Note,
	}
	for name, l := range r.Outputs.GetLiterals() {
		report.Outputs[name] = plainValue(decode(l), rows)
	}
	if r.CustomInfo != nil {
		report.CustomInfo, _ = protojson.Marshal(r.CustomInfo) // a Struct always has a JSON form
	}
	return report
}

// decode reads a literal as a Go value. What the codec does not know is shown in protobuf's own JSON form.
func decode(l *core.Literal) any {
	value, err := literal.Decode[any](l)
	if err != nil {
		encoded, err := protojson.Marshal(l)
		if err != nil { // such as a time that JSON has no form for
			return prototext.MarshalOptions{}.Format(l)
		}
		return json.RawMessage(encoded)
	}
	return value
}

// plainValue makes a value readable as JSON, at any depth.
func plainValue(value any, rows int) any {
	switch v := value.(type) {
	case literal.StructuredDataset:
		out := map[string]any{"uri": v.URI, "format": v.Format}
		if len(v.Columns) > 0 {
			columns := make([]map[string]string, len(v.Columns))
			for i, c := range v.Columns {
				columns[i] = map[string]string{"name": c.Name, "type": TypeName(c.Type)}
			}
			out["columns"] = columns
		}
		if rows > 0 {
			if preview, err := newPreview(v, rows); err == nil {
				if objects, err := preview.objects(); err == nil {
					out["rows"] = objects
				}
				if preview.Total >= 0 {
					out["row_count"] = preview.Total
				}
			}
		}
		return out
	case literal.File:
		return map[string]any{"uri": v.URI, "format": v.Format}
	case literal.Directory:
		return map[string]any{"uri": v.URI, "format": v.Format}
	case literal.Schema:
		return map[string]any{"uri": v.URI}
	case time.Duration:
		return v.String()
	case float64:
		return number(v, 64)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = plainValue(v[i], rows)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for key := range v {
			out[key] = plainValue(v[key], rows)
		}
		return out
	case map[any]any:
		out := make(map[string]any, len(v))
		for key := range v {
			out[keyText(v, key)] = plainValue(v[key], rows)
		}
		return out
	}
	return value
}

// keyText is a key of a dict as JSON can have it: 1 is "1", and "1" beside it is "\"1\"".
func keyText(object map[any]any, key any) string {
	text, ok := key.(string)
	if !ok {
		return wholeText(key)
	}
	for other := range object {
		if _, isText := other.(string); !isText && wholeText(other) == text {
			return strconv.Quote(text)
		}
	}
	return text
}

func columnNames(columns []literal.Column) []string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.Name + " " + TypeName(c.Type)
	}
	return names
}

// Seconds writes a time span as a person wants to read it: 0.24s, 12.3s, 4m3s.
func Seconds(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.2fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return d.Round(time.Second).String()
}

func orElse(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
