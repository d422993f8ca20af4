package adminclient

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/fleet"
)

// Awaited is a configuration that hosts are to run, with all of its plugins.
type Awaited struct {
	// Hash stands for it.
	Hash string
	// FilesHash stands for the files that have it, where they are known: by that a host's refusal is known to be of this configuration.
	FilesHash string
}

// Await waits until hosts run a configuration.
type Await struct {
	Awaited
	// Hosts are those that have to run it, as they are now: it is asked each time.
	Hosts func(context.Context) ([]Client, error)
	// Interval is the pause between two looks.
	Interval time.Duration
	// Tell is told what changes.
	Tell func(string)
}

// Replica is one host, as it was when it was last asked.
type Replica struct {
	Address string `json:"address"`
	// OK is whether it runs the configuration.
	OK bool `json:"ok"`
	// Says is what it says, in words.
	Says string `json:"says"`
	// Config is the same as it came; absent where it did not answer.
	Config *admin.ConfigState `json:"config,omitempty"`
	// Refused is whether it will not run the configuration, unless somebody does something about it.
	Refused bool `json:"refused,omitempty"`
}

// refusalGrace is for how long a plugin may refuse its configuration before that counts: the files behind its keys may come a moment later than
// the configuration, and it is tried again.
const refusalGrace = 7 * time.Second

// Run waits until all hosts run it, one of them refuses it, or ctx ends; and gives what each said last. There is an error where the
// hosts could not be found, at last.
func (a Await) Run(ctx context.Context) ([]Replica, error) {
	ticker := time.NewTicker(a.Interval)
	defer ticker.Stop()
	seen := map[string]*watchedReplica{}
	told := map[string]string{}
	var replicas []Replica
	var err error
	for {
		hosts, notFound := a.Hosts(ctx)
		asked := a.askAll(ctx, hosts, seen)
		if ctx.Err() == nil || replicas == nil && err == nil { // else what was broken off says less than what was before
			replicas, err = asked, notFound
			a.tell(replicas, err, told)
		}
		switch {
		case err == nil && len(replicas) > 0 && all(replicas, func(r Replica) bool { return r.OK }):
			return replicas, nil
		case slices.ContainsFunc(replicas, func(r Replica) bool { return r.Refused }):
			return replicas, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return replicas, err
		}
	}
}

func all(replicas []Replica, is func(Replica) bool) bool {
	return !slices.ContainsFunc(replicas, func(r Replica) bool { return !is(r) })
}

// ownAddress is this side of a connection in an error of package net. It is another each time, and says nothing.
var ownAddress = regexp.MustCompile(`\S+:\d+->`)

// tell tells what is other than before.
func (a Await) tell(replicas []Replica, err error, told map[string]string) {
	now := map[string]string{}
	for _, r := range replicas {
		now[r.Address] = r.Says
	}
	if err != nil {
		now[""] = ownAddress.ReplaceAllString(err.Error(), "")
	}
	for _, address := range slices.Sorted(maps.Keys(now)) {
		if says := now[address]; says != told[address] {
			a.Tell(strings.TrimPrefix(address+": "+says, ": "))
		}
	}
	for address := range told {
		if _, there := now[address]; !there && address != "" {
			a.Tell(address + ": is gone")
		}
	}
	clear(told)
	maps.Copy(told, now)
}

// watchedReplica is what is remembered of a host from look to look.
type watchedReplica struct {
	looked bool
	// before stands for the files that it had refused before it was waited for, and refuses still; nil: there are none.
	before *string
	// refusing is since when a plugin of it has refused the configuration.
	refusing time.Time
}

// askAll asks hosts side by side.
func (a Await) askAll(ctx context.Context, hosts []Client, seen map[string]*watchedReplica) []Replica {
	replicas := make([]Replica, len(hosts))
	var asked sync.WaitGroup
	for i, host := range hosts {
		if seen[host.Address] == nil {
			seen[host.Address] = &watchedReplica{}
		}
		watched := seen[host.Address]
		asked.Go(func() { replicas[i] = a.askOne(ctx, host, watched) })
	}
	asked.Wait()
	return replicas
}

func (a Await) askOne(ctx context.Context, host Client, watched *watchedReplica) Replica {
	replica := Replica{Address: host.Address}
	state, err := host.Config(ctx)
	if err != nil {
		replica.Says, _, _ = strings.Cut(err.Error(), "\n")
		return replica
	}
	fresh := false
	switch {
	case state.Refused == nil:
		watched.before = nil
	case !watched.looked:
		watched.before = &state.Refused.FilesHash
	default:
		fresh = watched.before == nil || *watched.before != state.Refused.FilesHash
	}
	watched.looked = true

	var judged judgement
	judged, replica.Says = a.judge(state, fresh)
	replica.Config = &state
	switch judged {
	case runs:
		replica.OK = true
	case refused:
		replica.Refused = true
	case pluginRefuses:
		if watched.refusing.IsZero() {
			watched.refusing = time.Now()
		}
		replica.Refused = time.Since(watched.refusing) >= refusalGrace
	case waits:
	}
	if judged != pluginRefuses {
		watched.refusing = time.Time{}
	}
	return replica
}

// judgement is what to make of a host's answer.
type judgement int

const (
	waits         judgement = iota
	runs                    // the configuration, and its plugins
	refused                 // the host does not take it up
	pluginRefuses           // the host has taken it up, and a plugin has not
)

// judge says what to make of a host's answer, and why. A refusal is fresh that has come while it was waited for: where nothing more is known
// of the files it is taken for one of this configuration.
func (a Awaited) judge(state admin.ConfigState, fresh bool) (judgement, string) {
	if state.Hash != a.Hash {
		says := "runs " + orNothing(state.Hash)
		if state.Refused == nil {
			return waits, says + ", and has not heard of " + a.Hash
		}
		says += ", and refuses what its files hold: " + strings.Join(state.Refused.Reasons, "; ")
		known := a.FilesHash != "" && state.Refused.FilesHash != ""
		if state.Refused.Hash == a.Hash || known && state.Refused.FilesHash == a.FilesHash || !known && fresh {
			return refused, says
		}
		return waits, says
	}
	var wrong, not []string
	count := 0
	for _, p := range state.Plugins {
		is := fmt.Sprintf("plugin %s is %s", p.Name, p.Standing)
		if p.Reason != "" {
			is += ": " + p.Reason
		}
		switch fleet.Stand(p.Standing) {
		case fleet.AsConfigured:
			count++
		case fleet.Excused:
		case fleet.Wrong:
			wrong = append(wrong, is)
		default:
			not = append(not, is)
		}
	}
	says := "runs " + a.Hash
	switch {
	case len(wrong) > 0:
		return pluginRefuses, says + ", but " + strings.Join(append(wrong, not...), "; ")
	case len(not) > 0:
		return waits, says + ", but " + strings.Join(not, "; ")
	}
	return runs, fmt.Sprintf("%s, %d of %d plugins as configured%s", says, count, len(state.Plugins), excuses(state.Plugins))
}

// excuses names the plugins that need not run.
func excuses(plugins []admin.PluginStanding) string {
	var excused []string
	for _, p := range plugins {
		if fleet.Stand(p.Standing) == fleet.Excused {
			excused = append(excused, p.Name+" ("+p.Reason+")")
		}
	}
	if len(excused) == 0 {
		return ""
	}
	return "; not counted: " + strings.Join(excused, ", ")
}

func orNothing(hash string) string {
	if hash == "" {
		return "a configuration without a hash"
	}
	return hash
}

// errNoHosts is for a name that leads nowhere yet.
var errNoHosts = errors.New("there is no host yet")
