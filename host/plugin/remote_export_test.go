package plugin

import (
	"context"
	"time"
)

// Pace is the pace of a Remote, for tests that cannot wait as long as a host does. What is zero is as usual.
type Pace struct{ Health, List, Answer, Down time.Duration }

// ConnectAt is Connect at another pace.
func ConnectAt(ctx context.Context, spec Spec, env Environment, changed Pace) (*Remote, error) {
	pace := usualPace
	for duration, change := range map[*time.Duration]time.Duration{
		&pace.health: changed.Health, &pace.list: changed.List, &pace.answer: changed.Answer, &pace.down: changed.Down,
	} {
		if change != 0 {
			*duration = change
		}
	}
	return connect(ctx, spec, env, pace)
}
