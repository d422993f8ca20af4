package server

import (
	"errors"
	"testing"

	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/plugin"
)

func TestWhichConfigurationIsSound(t *testing.T) {
	runs, stopped, pending, wrong := fleet.Standing{Stand: fleet.AsConfigured}, fleet.Standing{Stand: fleet.Excused}, fleet.Standing{Stand: fleet.Pending}, fleet.Standing{Stand: fleet.Wrong}
	away := fleet.Standing{Stand: fleet.Failing, Problem: &plugin.StartError{Fault: plugin.FaultOfService}}
	dies := fleet.Standing{Stand: fleet.Failing, Problem: errors.New("it died")}
	for name, c := range map[string]struct {
		standings []fleet.Standing
		want      bool
	}{
		"no plugins":                 {nil, true},
		"all run":                    {[]fleet.Standing{runs, runs}, true},
		"one is stopped":             {[]fleet.Standing{runs, stopped}, true},
		"all are stopped":            {[]fleet.Standing{stopped}, true},
		"one is on its way":          {[]fleet.Standing{runs, pending}, false},
		"one refuses":                {[]fleet.Standing{runs, wrong}, false},
		"one dies":                   {[]fleet.Standing{runs, dies}, false},
		"a service of one is away":   {[]fleet.Standing{runs, away}, true},
		"what all need is away":      {[]fleet.Standing{away}, false},
		"one is away, one is broken": {[]fleet.Standing{runs, away, wrong}, false},
	} {
		if got := isSound(c.standings); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
