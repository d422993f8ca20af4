package server

import (
	"errors"
	"slices"
	"testing"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/fleet"
)

func TestWhenAHostIsReadyForTheFirstTime(t *testing.T) {
	of := func(name string, stand fleet.Stand) fleet.Standing {
		return fleet.Standing{Plugin: name, Stand: stand, Listed: stand == fleet.AsConfigured, Problem: errors.New("so")}
	}
	sound, broken, waiting, stopped := of("sound", fleet.AsConfigured), of("broken", fleet.Wrong), of("waiting", fleet.Pending), of("stopped", fleet.Excused)
	remembered := broken
	remembered.Listed = true
	for name, c := range map[string]struct {
		policy              string
		synced, late, lists bool
		standings           []fleet.Standing
		ready, listed       bool
		waits               []string
		givenUp             bool
	}{
		"no plugins, at first":              {policy: config.ReadyAll},
		"no plugins":                        {policy: config.ReadyAll, synced: true, ready: true, listed: true},
		"all are disabled":                  {policy: config.ReadyAll, synced: true, standings: []fleet.Standing{stopped}, ready: true, listed: true},
		"any: at first":                     {policy: config.ReadyAny, standings: []fleet.Standing{waiting}, waits: []string{"waiting"}},
		"any: restarted, all is remembered": {policy: config.ReadyAny, lists: true, standings: []fleet.Standing{remembered}, listed: true, waits: []string{"broken"}},
		"any: one is broken":                {policy: config.ReadyAny, synced: true, lists: true, standings: []fleet.Standing{broken, sound}, ready: true, listed: true},
		"any: none runs":                    {policy: config.ReadyAny, synced: true, late: true, standings: []fleet.Standing{broken, waiting}, waits: []string{"broken", "waiting"}},
		"any: none runs, one is remembered": {policy: config.ReadyAny, synced: true, lists: true, standings: []fleet.Standing{remembered}, ready: true, listed: true},
		"all: all run":                      {policy: config.ReadyAll, synced: true, lists: true, standings: []fleet.Standing{sound, stopped}, ready: true, listed: true},
		"all: they run, and not all tried":  {policy: config.ReadyAll, lists: true, standings: []fleet.Standing{sound}, listed: true},
		"all: one is broken":                {policy: config.ReadyAll, synced: true, lists: true, standings: []fleet.Standing{broken, sound}, waits: []string{"broken"}},
		"all: one is broken, remembered":    {policy: config.ReadyAll, synced: true, lists: true, standings: []fleet.Standing{remembered, sound}, listed: true, waits: []string{"broken"}},
		"all: one is broken for too long":   {policy: config.ReadyAll, synced: true, late: true, lists: true, standings: []fleet.Standing{broken, sound}, ready: true, listed: true, waits: []string{"broken"}, givenUp: true},
		"all: none runs, for too long":      {policy: config.ReadyAll, synced: true, late: true, standings: []fleet.Standing{broken}, waits: []string{"broken"}},
		"all: all run, late":                {policy: config.ReadyAll, synced: true, late: true, lists: true, standings: []fleet.Standing{sound}, ready: true, listed: true},
	} {
		got := firstReady(config.Ready{Plugins: c.policy}, c.synced, c.late, c.lists, c.standings)
		var waits []string
		for _, s := range got.waits {
			waits = append(waits, s.Plugin)
		}
		if got.ready != c.ready || got.listed != c.listed || got.givenUp != c.givenUp || !slices.Equal(waits, c.waits) {
			t.Errorf("%s: %+v, want: %+v", name, got, c)
		}
	}
}
