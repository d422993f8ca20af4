package types

import (
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/proto"

	agent "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
	"github.com/agenthost/agenthost/test/published"
	"github.com/agenthost/agenthost/test/types/table"
)

const (
	// taskLimit bounds one task; workers is how many run at a time.
	taskLimit = 2 * time.Minute
	workers   = 4
)

// bench runs tasks of one plugin, and keeps what became of each cell.
type bench struct {
	t        *testing.T
	plugin   *agenttest.Client
	taskType string
	// sync says that tasks end within the call that begins them.
	sync    bool
	dialect dialect
	python  *python
	// prefix is a folder for outputs.
	prefix string

	types map[string]*core.LiteralType
	cells map[table.Cell]*tally
	tasks int
	bent  int
	// fail is how a bent value is told; nil: an error of the test.
	fail func(format string, args ...any)
}

// tally is what became of a cell's values.
type tally struct {
	exact   int
	widened []string
	refused []string
}

func newBench(t *testing.T, taskType string, plugin *agenttest.Client) *bench {
	t.Helper()
	return &bench{
		t: t, plugin: plugin, taskType: taskType, python: startPython(t), prefix: t.TempDir(),
		types: map[string]*core.LiteralType{}, cells: map[table.Cell]*tally{},
	}
}

// dialect is how an engine's SQL makes values of expressions.
type dialect struct {
	list func(items []string) string
	// dict is a map with keys that are expressions, record a struct.
	dict   func(keys, values []string) string
	record func(keys, values []string) string
	// row says that a dict is a whole row, if it is of one column.
	row bool
}

// part runs a part of the test as one of its own.
func (b *bench) part(name string, run func(*bench)) {
	whole := b.t
	whole.Run(name, func(t *testing.T) {
		b.t = t
		run(b)
	})
	b.t = whole
}

// probe is a task, of which the values are known that it may end with.
type probe struct {
	// cell has no outcome and no note yet. Without an engine the probe belongs to no cell of the table.
	cell   table.Cell
	sql    string
	inputs map[string]input
	reads  []reading
	// names are what a refusal has to name, each in one of several spellings.
	names [][]string
}

// input is a literal and its declared type.
type input struct {
	literal  *core.Literal
	declared *core.LiteralType
}

// reading is an output, the type that flytekit reads it as, and what it has to be. A dataset is read by pyarrow.
type reading struct {
	output, python string
	want           value
}

const (
	dataset = "StructuredDataset"
	// untagged is Flyte's binary literal without a tag, which flytekit has no type for.
	untagged = "binary"
)

// typeOf is Flyte's type of a type of Python's.
func (b *bench) typeOf(python string) *core.LiteralType {
	b.t.Helper()
	if python == untagged {
		return &core.LiteralType{Type: &core.LiteralType_Simple{Simple: core.SimpleType_BINARY}}
	}
	if b.types[python] == nil {
		made := b.python.ask(b.t, request{"do": "type", "type": python})[0]
		b.types[python] = &core.LiteralType{}
		if err := proto.Unmarshal(made.Type, b.types[python]); err != nil || made.Error != "" {
			b.t.Fatalf("the type %s: %s %v", python, made.Error, err)
		}
	}
	return b.types[python]
}

// given makes literals of Python's expressions, and gives what Python says of each.
func (b *bench) given(python string, values []string) ([]input, []value) {
	b.t.Helper()
	var requests []request
	for _, v := range values {
		requests = append(requests, request{"do": "make", "type": python, "value": v})
	}
	var inputs []input
	var all []value
	for i, made := range b.python.ask(b.t, requests...) {
		in := input{&core.Literal{}, b.typeOf(python)}
		if err := proto.Unmarshal(made.Literal, in.literal); err != nil || made.Error != "" {
			b.t.Fatalf("%s as %s: %s %v", values[i], python, made.Error, err)
		}
		inputs, all = append(inputs, in), append(all, valueOf(*made.Told))
	}
	return inputs, all
}

// run runs the probes' tasks and judges how they end.
func (b *bench) run(probes []probe) []string {
	b.t.Helper()
	for _, p := range probes {
		for _, r := range p.reads {
			b.typeOf(r.python)
		}
	}
	ends := make([]*admin.Resource, len(probes))
	next := make(chan int)
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for i := range next {
				ends[i] = b.task(b.tasks+i, probes[i])
			}
		})
	}
	for i := range probes {
		next <- i
	}
	close(next)
	running.Wait()
	b.tasks += len(probes)

	var requests []request
	for i, p := range probes {
		for _, r := range p.reads {
			if made, ok := ends[i].GetOutputs().GetLiterals()[r.output]; ok {
				requests = append(requests, reads(b.t, r, made)...)
			}
		}
	}
	answers := b.python.ask(b.t, requests...)
	outcomes := make([]string, len(probes))
	for i, p := range probes {
		outcomes[i], answers = b.judge(p, ends[i], answers)
	}
	return outcomes
}

// reads asks Python for an output.
func reads(t *testing.T, r reading, made *core.Literal) []request {
	t.Helper()
	switch r.python {
	case untagged:
		return nil
	case dataset:
		path := strings.TrimPrefix(made.GetScalar().GetStructuredDataset().GetUri(), "file://")
		if filepath.Base(path) != "00000" { // a folder, as flytekit writes it
			path = filepath.Join(path, "00000")
		}
		return []request{{"do": "open", "path": path}}
	}
	packed, err := proto.Marshal(made)
	if err != nil {
		t.Fatal(err)
	}
	return []request{{"do": "read", "type": r.python, "literal": packed}}
}

// task runs one to its end.
func (b *bench) task(number int, p probe) *admin.Resource {
	inputs := &core.LiteralMap{Literals: map[string]*core.Literal{}}
	declared := agent.OutputTypes{}
	for name, in := range p.inputs {
		inputs.Literals[name], declared[name] = in.literal, in.declared
	}
	outputs := agent.OutputTypes{}
	for _, r := range p.reads {
		outputs[r.output] = b.types[r.python]
		if r.python == untagged {
			outputs[r.output] = b.typeOf(untagged)
		}
	}
	ctx, cancel := context.WithTimeout(b.t.Context(), taskLimit)
	defer cancel()
	failed := func(err error) *admin.Resource { return &admin.Resource{Message: "the call failed: " + err.Error()} }
	task := agenttest.Task{
		Type: b.taskType, SQL: p.sql, InputTypes: declared, OutputTypes: outputs,
		OutputPrefix: filepath.Join(b.prefix, fmt.Sprint(number)),
		Change:       func(request *admin.CreateTaskRequest) { request.Inputs = inputs },
	}
	if b.sync {
		result, err := b.plugin.Execute(ctx, task)
		if result == nil {
			return failed(err)
		}
		return result.Resource
	}
	job, err := b.plugin.Create(ctx, task)
	if err != nil {
		return failed(err)
	}
	result, err := job.Wait(ctx)
	if result == nil {
		return failed(err)
	}
	if err := job.Delete(ctx); err != nil {
		return failed(err)
	}
	return result.Resource
}

// judge enters what became of a probe into its cell, and says its outcome; "" where it is bent.
func (b *bench) judge(p probe, end *admin.Resource, answers []answer) (outcome string, rest []answer) {
	b.t.Helper()
	key := p.cell
	if b.cells[key] == nil {
		b.cells[key] = &tally{}
	}
	cell := b.cells[key]
	bent := func(format string, args ...any) {
		b.t.Helper()
		b.bent++
		tell := b.t.Errorf
		if b.fail != nil {
			tell = b.fail
		}
		tell("%s\n%s", p, fmt.Sprintf(format, args...))
	}
	if end.GetPhase() != core.TaskExecution_SUCCEEDED {
		if problem := p.refusal(end); problem != "" {
			bent("%s: %s", problem, end.GetMessage())
			return "", answers
		}
		if !strings.Contains(end.GetMessage(), "is NULL, but") || strings.HasPrefix(key.Flyte, "Optional") || strings.EqualFold(strings.Trim(key.Engine, `"`), "null") {
			cell.refused = append(cell.refused, end.GetMessage())
		}
		return table.Refused, answers
	}
	var widened []string
	fine := true
	for _, r := range p.reads {
		made, ok := end.GetOutputs().GetLiterals()[r.output]
		if !ok {
			bent("SUCCEEDED without the output %q", r.output)
			return "", answers
		}
		var got told
		switch r.python {
		case untagged:
			got = told{kind: "bytes", text: hex.EncodeToString(made.GetScalar().GetBinary().GetValue())}
		default:
			var problem string
			if got, problem = answers[0].as(r.python); problem != "" {
				bent("SUCCEEDED with %q, which cannot be read as %s: %s", r.output, r.python, problem)
				fine = false
			}
			answers = answers[1:]
			if !fine {
				continue
			}
		}
		how, ok := r.want.judge(got)
		if !ok {
			bent("%q was read back as %s", r.output, got)
			fine = false
		}
		widened = together(widened, how)
	}
	switch {
	case !fine:
		return "", answers
	case len(widened) > 0:
		cell.widened = together(cell.widened, widened)
		return table.Widened, answers
	default:
		cell.exact++
		return table.Exact, answers
	}
}

// as is what Python has read; of a dataset its one column, as a list.
func (a answer) as(python string) (got told, problem string) {
	switch {
	case a.Error != "":
		return told{}, a.Error
	case python != dataset:
		return *a.Told, ""
	case len(a.Columns) == 1:
		return told{kind: "list", list: a.Columns[0].values}, ""
	}
	rows := told{kind: "dict"}
	for _, c := range a.Columns {
		rows.dict = append(rows.dict, entry{told{kind: "str", text: c.name}, told{kind: "list", list: c.values}})
	}
	return rows, ""
}

// refusal says what is wrong with a failure.
func (p probe) refusal(end *admin.Resource) string {
	if end.GetPhase() != core.TaskExecution_FAILED {
		return fmt.Sprintf("ended as %s", end.GetPhase())
	}
	for _, spellings := range p.names {
		if !slices.ContainsFunc(spellings, func(s string) bool { return strings.Contains(end.GetMessage(), s) }) {
			return fmt.Sprintf("FAILED without %q in the message", spellings)
		}
	}
	return ""
}

func (p probe) String() string {
	var inputs []string
	for _, name := range slices.Sorted(maps.Keys(p.inputs)) {
		inputs = append(inputs, fmt.Sprintf("$%s = %v", name, p.inputs[name].literal))
	}
	return fmt.Sprintf("%s %s, %s, %s: %s %s", p.cell.Direction, p.cell.Flyte, p.cell.Engine, p.cell.Position, p.sql, strings.Join(inputs, ", "))
}

// hold holds the cells against the plugin's table, and says how many there are.
func (b *bench) hold(plugin string) {
	b.t.Helper()
	var cells []table.Cell
	others := map[table.Cell]*tally{}
	for cell, tally := range b.cells {
		switch {
		case cell.Engine == "":
		case cell.Position == folder && tally.exact == 0 && len(tally.widened) == 0:
			addOther(others, cell, tally)
		default:
			cells = append(cells, tally.outcome(cell))
		}
	}
	for cell, tally := range others {
		cells = append(cells, tally.outcome(cell))
	}
	if b.bent == 0 {
		published.Check(b.t, "plugins/"+plugin+"/types.tsv", table.Text(cells))
	}
	b.t.Logf("%s: %d cells, %d tasks, %d bent", plugin, len(cells), b.tasks, b.bent)
}

// folder is the position of two files of one input, whose pairs of types are so many that those which are refused share a cell.
const folder = "folder of two files"

func addOther(others map[table.Cell]*tally, cell table.Cell, refused *tally) {
	names := strings.Split(cell.Engine, " + ")
	cell.Engine = "any other pair"
	if others[cell] == nil {
		others[cell] = &tally{}
	}
	for _, message := range refused.refused {
		// The longer first: it may be a part of the other.
		slices.SortFunc(names, func(a, b string) int { return len(b) - len(a) })
		for _, name := range names {
			message = strings.ReplaceAll(message, " "+name, " …")
		}
		others[cell].refused = append(others[cell].refused, message)
	}
}

func (t *tally) outcome(cell table.Cell) table.Cell {
	refused := common(t.refused)
	switch {
	case t.exact == 0 && len(t.widened) == 0:
		cell.Outcome, cell.Note = table.Refused, refused
		return cell
	case len(t.widened) == 0:
		cell.Outcome = table.Exact
	default:
		slices.Sort(t.widened)
		cell.Outcome, cell.Note = table.Widened, strings.Join(t.widened, ", ")
	}
	if refused != "" {
		cell.Note = strings.TrimPrefix(cell.Note+"; some refused: "+refused, "; ")
	}
	return cell
}

// common is what messages have in common: what is another in each is "…".
func common(messages []string) string {
	var all []string
	for _, message := range messages {
		message = strings.Join(strings.Fields(message), " ")
		for _, one := range same {
			message = one.what.ReplaceAllString(message, one.by)
		}
		all = append(all, message)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	var merged [][]string
next:
	for _, message := range all {
		words := strings.Fields(message)
		for i, other := range merged {
			if one, ok := alike(other, words); ok {
				merged[i] = one
				continue next
			}
		}
		merged = append(merged, words)
	}
	var texts []string
	for _, words := range merged {
		texts = append(texts, strings.Join(words, " "))
	}
	return strings.Join(texts, "; or: ")
}

// same is what is the same in messages about different values and types: what they are about comes first, and is left out.
var same = []struct {
	what *regexp.Regexp
	by   string
}{
	{regexp.MustCompile(`^.*cannot be read as a table: `), ""},
	{regexp.MustCompile(`^.*(for output "[^"]*",|for an output,) `), ""},
	{regexp.MustCompile(`^\w+: `), ""},
	{regexp.MustCompile(`^output "\w+", `), ""},
	{regexp.MustCompile(`^.*?(column|input) "[^"]*"( \(.*?\)+)?[:,]? `), ""},
	{regexp.MustCompile(`^((entry "[^"]*"|element \d+) )+`), ""},
	{regexp.MustCompile(`^is (an? [\w ]+|JSON), but (an? )?[\w ]+ is declared`), "is …, but … is declared"},
	{regexp.MustCompile(`^is .*, (which no float|which is no 64-bit|which is outside|an integer of more than 64|and a datetime|which cannot be in)`), "is …, $1"},
	{regexp.MustCompile(`the number \d+`), "the number …"},
	{regexp.MustCompile(`(in the SQL\)|no DOUBLE equals|does not hold): .*`), "$1: …"},
	{regexp.MustCompile(`keys of the type .*, which`), "keys of the type …, which"},
	{regexp.MustCompile(`as [A-Z][\w" (),\[\]]*, but the files before it as [A-Z][\w" (),\[\]]*, and`), "as …, but the files before it as …, and"},
	{regexp.MustCompile(`^…?\S* ?has the column "c" `), "has the column "},
	{regexp.MustCompile(`(/[\w.=-]+){2,}`), "…"},
}

// alike merges two messages of which at most a few words differ.
func alike(a, b []string) ([]string, bool) {
	if len(a) != len(b) {
		return nil, false
	}
	merged := slices.Clone(a)
	differ := 0
	for i := range a {
		if a[i] != b[i] {
			merged[i] = "…"
			differ++
		}
	}
	return merged, differ <= 3
}
