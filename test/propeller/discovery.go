package propeller

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"google.golang.org/grpc"
)

// Entry is one category that discovery has found.
type Entry struct {
	Name     string
	Version  int32
	Sync     bool // Flyte 1 only: Flyte 2 knows no sync agents and takes them for async ones
	Endpoint string
}

// DiscoveryStatus tells how discovery went since the process started.
type DiscoveryStatus struct {
	Polls    int
	Failures int   // polls in which an endpoint failed, so that its types were forgotten
	Last     error // of the last such poll
}

// discovery asks every endpoint for its agents, at start and then at every interval.
type discovery struct {
	opts     *Options
	wire     *wire
	registry atomic.Pointer[registry] // replaced at each poll, never changed

	mu   sync.Mutex
	past DiscoveryStatus
}

// registry is by name, then version. In Flyte 1 a name has one version at most.
type registry map[string]map[int32]Entry

func newDiscovery(opts *Options, wire *wire) *discovery {
	d := &discovery{opts: opts, wire: wire}
	d.registry.Store(&registry{})
	return d
}

// run polls at once, and then an interval after each poll has ended. Flyte 1 dials anew for each poll, Flyte 2 keeps its connections.
func (d *discovery) run(ctx context.Context) {
	for {
		if d.opts.Flyte == V1 {
			fresh := newWire(d.opts)
			d.pollOn(ctx, fresh)
			fresh.close()
		} else {
			d.pollOn(ctx, d.wire)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(d.opts.PollInterval):
		}
	}
}

// pollOn builds a registry from what the endpoints list now, and replaces the old one with it. An endpoint that fails
// contributes nothing, which forgets its types.
func (d *discovery) pollOn(ctx context.Context, wire *wire) {
	found := registry{}
	var failure error
	endpoints := append([]string{d.opts.Endpoint}, slices.Sorted(maps.Values(d.opts.Connectors))...)
	for _, endpoint := range endpoints {
		if err := d.list(ctx, wire.to(endpoint), endpoint, found); err != nil {
			failure = fmt.Errorf("ListAgents on %s: %w", endpoint, err)
		}
	}
	for _, name := range d.opts.TaskTypes {
		if _, listed := found[name]; !listed {
			found.add(d.opts.Flyte, Entry{Name: name, Endpoint: d.opts.Endpoint})
		}
	}
	if ctx.Err() != nil {
		return
	}
	d.registry.Store(&found)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.past.Polls++
	if failure != nil {
		d.past.Failures++
		d.past.Last = failure
	}
}

func (d *discovery) list(ctx context.Context, conn *grpc.ClientConn, endpoint string, found registry) error {
	ctx, cancel := withDeadline(ctx, d.opts, listAgents)
	defer cancel()
	response := &admin.ListAgentsResponse{} // Flyte 2's has the same fields
	if err := conn.Invoke(ctx, paths[d.opts.Flyte][listAgents], &admin.ListAgentsRequest{}, response); err != nil {
		return err
	}
	for _, agent := range response.GetAgents() {
		entry := Entry{Endpoint: endpoint}
		if d.opts.Flyte == V1 {
			entry.Sync = agent.GetIsSync()
			for _, name := range agent.GetSupportedTaskTypes() { // deprecated, and read by Flyte all the same
				entry.Name = name
				found.add(d.opts.Flyte, entry)
			}
		}
		for _, category := range agent.GetSupportedTaskCategories() {
			entry.Name, entry.Version = category.GetName(), category.GetVersion()
			found.add(d.opts.Flyte, entry)
		}
	}
	return nil
}

func (d *discovery) status() DiscoveryStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.past
}

// resolve tells where a category is served. One that is not listed goes to the default endpoint, as an async one.
func (d *discovery) resolve(category *admin.TaskCategory) Entry {
	if entry, ok := (*d.registry.Load())[category.GetName()][category.GetVersion()]; ok {
		return entry
	}
	return Entry{Name: category.GetName(), Version: category.GetVersion(), Endpoint: d.opts.Endpoint}
}

// knows tells whether a type is listed in any version.
func (d *discovery) knows(taskType string) bool {
	_, ok := (*d.registry.Load())[taskType]
	return ok
}

// add overwrites, in Flyte 1, whatever other version of the name was there: its bug, not ours.
func (r registry) add(flyte Flyte, entry Entry) {
	if flyte == V1 || r[entry.Name] == nil {
		r[entry.Name] = map[int32]Entry{}
	}
	r[entry.Name][entry.Version] = entry
}

func (r registry) entries() []Entry {
	var all []Entry
	for _, versions := range r {
		all = slices.AppendSeq(all, maps.Values(versions))
	}
	slices.SortFunc(all, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version))
	})
	return all
}
