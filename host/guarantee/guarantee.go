// Package guarantee is the one table of what Flyte can rely on, whatever plugins do.
//
// Everything else that tells of guarantees reads it: the gateway, which keeps them and marks each line that acts for one
// with its ID ("// G7"); the help of agenthost_guarantee_total; docs/reference/guarantees.md; and `make chaos-guarantees`,
// which shows what is lost without each. README's promises name them by ID.
package guarantee

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ID names a guarantee. IDs are part of metrics and documents: they are never given to another guarantee.
type ID int

// The guarantees. Each is described in the table.
const (
	StableDiscovery ID = iota + 1
	VersionRouting
	WaitsForPlugin
	CreatesOnce
	LastKnownStatus
	EndsUnreachable
	UnknownJobs
	RetryableErrors
	OneSyncAnswer
	SizeLimits
	Pinning
	BothFlytes
	KeepalivePings
	ThinnedPolls
	OnRecord
	NoOrphans
	Fairness
)

// String is the ID as it is written everywhere: "G5".
func (id ID) String() string { return "G" + strconv.Itoa(int(id)) }

// Name is the guarantee's, a few words.
func (id ID) Name() string {
	for i := range table {
		if table[i].ID == id {
			return table[i].Name
		}
	}
	return ""
}

// Guarantee is a row of the table.
type Guarantee struct {
	ID ID
	// Name is a few words, for a table or a label.
	Name string
	// Promise says what the host does, and of what Flyte's that protects its users.
	Promise string
	// Counts is what one more in agenthost_guarantee_total means. Empty: the guarantee acts where nothing can be counted, and
	// Uncounted says why.
	Counts, Uncounted string
}

var table = []Guarantee{
	{
		ID: StableDiscovery, Name: "stable discovery",
		Promise: "ListAgents and GetAgent (Flyte 2: ListConnectors and GetConnector) are answered from memory: they ask no plugin, cannot fail, and drop no task type because its plugin crashed or is being swapped. FlytePropeller would hand the jobs of a type that is not listed to its container plugin.",
		Counts:  "discovery listed a task type whose plugin was not there",
	},
	{
		ID: VersionRouting, Name: "version routing",
		Promise: "A call goes to the exact name and version of its task type, else to the highest version of the name. FlytePropeller 1 keeps only the version that is listed last, which is the highest, and asks for whatever a task says.",
		Counts:  "a call for a version that no plugin serves went to the highest there is",
	},
	{
		ID: WaitsForPlugin, Name: "waiting for a plugin",
		Promise: "A call for a plugin that starts or restarts waits, until just before its deadline or, in a poll that can be answered from memory, for a second; of those that begin a task, as many as G17 allows. A CreateTask that fails costs its user an attempt.",
		Counts:  "a call waited for its plugin, and got it",
	},
	{
		ID: CreatesOnce, Name: "one job an attempt",
		Promise: "All CreateTask calls for one attempt get the first one's answer, and the plugin gets a key that is the attempt's own. Only a plugin that declares idempotent_create is asked again after a crash. Flyte asks again when it restarts before it has written the answer down.",
		Counts:  "a repeated CreateTask got the first one's answer",
	},
	{
		ID: LastKnownStatus, Name: "last known status",
		Promise: "While a plugin cannot answer a poll, Flyte gets the job's last known status and the reason, for up to status.max_stale. Flyte counts failed polls over the whole life of a task, and gives up on the sixth.",
		Counts:  "a poll that failed was answered with the last known status",
	},
	{
		ID: EndsUnreachable, Name: "an end for lost jobs",
		Promise: "A job that could not be polled for longer than status.max_stale fails with the reason, instead of running for ever.",
		Counts:  "a job that could not be polled for longer than status.max_stale was failed",
	},
	{
		ID: UnknownJobs, Name: "jobs that are gone",
		Promise: "A job that its plugin does not know has failed where it is polled, and is deleted where it is to be deleted. Flyte repeats polls and deletions that fail; Flyte 2 without bound.",
		Counts:  "a job that its plugin does not know was failed by a poll, or taken for deleted",
	},
	{
		ID: RetryableErrors, Name: "retryable errors",
		Promise: "A failure whose agent_error is RECOVERABLE becomes RETRYABLE_FAILED, and the error's code leads the message. Flyte does not read the kind of an agent's error.",
		Counts:  "an agent's error was put into phase or message",
	},
	{
		ID: OneSyncAnswer, Name: "one sync answer",
		Promise: "A sync call is answered by one message with a terminal phase: parts are merged, and any other phase becomes FAILED with the reason. FlytePropeller reads one message, and a phase that is not terminal costs it a worker for good.",
		Counts:  "a sync answer was merged, or its phase made terminal",
	},
	{
		ID: SizeLimits, Name: "answers of a size that Flyte takes",
		Promise: "Messages are cut to 16 KiB and errors to 4 KiB as they are sent, keeping their head and their tail. Inline outputs beyond the 4 MiB that Flyte's clients read become a failure that says so.",
		Counts:  "a message or an error was cut, or outputs that Flyte cannot read became a failure",
	},
	{
		ID: Pinning, Name: "pinned jobs",
		Promise: "Where routes, rollouts or pin: always ask for it, a job is polled and deleted by the plugin and the generation that made it, while these live, by every host that has the create.keys with which the job was made; another one knows its plugin only, and with create.keys of its own not that either.",
		Counts:  "a call about a pinned job went to the plugin that made it",
	},
	{
		ID: BothFlytes, Name: "both generations of Flyte",
		Promise: "Each Flyte, and each agent, gets what it understands: Flyte 2 sees no sync agents, deprecated states become phases, no phase is UNDEFINED, each agent finds the category where it reads it, in task_category or in the deprecated task_type, and none takes what Flyte 2's SDK has pickled for bytes.",
		Counts:  "a state became a phase, a request got the task_type or task_category that its agent reads, or a pickle among its inputs was tagged",
	},
	{
		ID: KeepalivePings, Name: "keepalive pings",
		Promise:   "Pings on idle connections are welcome, as often as every 5 s. gRPC's default would close Flyte's connections every few minutes, and with them calls.",
		Uncounted: "gRPC answers pings by itself",
	},
	{
		ID: ThinnedPolls, Name: "thinned polls",
		Promise: "Polls of a job within status.min_interval, and those beyond limits.rate, are answered from memory, which protects the quotas of the services behind plugins.",
		Counts:  "a poll was answered from memory",
	},
	{
		ID: OnRecord, Name: "creation on record",
		Promise: "With create.on_record, a task of a plugin that finds its jobs (find_by_key) is accepted also while the plugin cannot take it: what the creation needs travels with the task, and any replica of the host, or a later one, makes the job once the plugin can. A CreateTask that fails costs its user an attempt, and Flyte has no back-off between attempts.",
		Counts:  "a CreateTask was answered with a record, or the end of a task that has no job",
	},
	{
		ID: NoOrphans, Name: "no orphans",
		Promise: "A job whose CreateTask was answered too late for anybody to hear it, and that nobody has asked for again within create.orphan_grace, is deleted, unless its plugin finds jobs by their key (find_by_key) or declares keep_unclaimed. It would run and cost money, and nobody knew of it.",
		Counts:  "a job was deleted that nobody knew of",
	},
	{
		ID: Fairness, Name: "a plugin in trouble holds up only itself",
		Promise: "From a second on that a plugin is away or silent, 5 calls that begin a task wait for it, 10 for all such plugins together, and others are refused with the reason. Those on record wait without a call. FlytePropeller begins the tasks of all plugins with 20 workers.",
		Counts:  "a call that begins a task was refused because enough waited for its plugin",
	},
}

// All returns the table, in the order of the IDs.
func All() []Guarantee { return slices.Clone(table) }

// MetricHelp is the help of agenthost_guarantee_total.
func MetricHelp() string {
	var counted []string
	for _, g := range table {
		if g.Counts != "" {
			counted = append(counted, g.ID.String()+" "+g.Counts)
		}
	}
	return "How often a guarantee saved a call: " + strings.Join(counted, "; ") + "."
}

// Set is a set of guarantees. The zero value is empty.
type Set uint32

// SetOf returns the set of its arguments.
func SetOf(ids ...ID) Set {
	var set Set
	for _, id := range ids {
		set |= 1 << id
	}
	return set
}

// Has says whether a guarantee is in the set.
func (s Set) Has(id ID) bool { return s&(1<<id) != 0 }

// Each calls visit for each member, in the order of the IDs.
func (s Set) Each(visit func(ID)) {
	for _, g := range table {
		if s.Has(g.ID) {
			visit(g.ID)
		}
	}
}

// Without returns the set less the members of another.
func (s Set) Without(others Set) Set { return s &^ others }

// Every returns the set of all guarantees.
func Every() Set {
	var set Set
	for _, g := range table {
		set |= SetOf(g.ID)
	}
	return set
}

// Parse returns the set of those named, as "G5". The error names what is no guarantee.
func Parse(names ...string) (Set, error) {
	var set Set
	var unknown []string
	for _, name := range names {
		i := slices.IndexFunc(table, func(g Guarantee) bool { return g.ID.String() == name })
		if i < 0 {
			unknown = append(unknown, strconv.Quote(name))
			continue
		}
		set |= SetOf(table[i].ID)
	}
	if len(unknown) > 0 {
		return 0, fmt.Errorf("there is no guarantee %s: they are called %s to %s", strings.Join(unknown, ", "), table[0].ID, table[len(table)-1].ID)
	}
	return set, nil
}
