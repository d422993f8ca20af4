package deadline

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

type key struct{}

// family is a context, its parent and its children.
type family struct {
	context.Context
	cancel, cancelParent context.CancelFunc
	children             []context.Context
	cancelChildren       []context.CancelFunc
}

func newFamily(parentTime, own time.Duration, with func(context.Context, time.Time) (context.Context, context.CancelFunc)) *family {
	parent, cancelParent := context.WithTimeout(context.WithValue(context.Background(), key{}, "value"), parentTime)
	ctx, cancel := with(parent, time.Now().Add(own))
	return &family{Context: ctx, cancel: cancel, cancelParent: cancelParent}
}

func (f *family) do(step string) {
	switch step {
	case "cancel":
		f.cancel()
	case "cancel the parent":
		f.cancelParent()
	case "wait for it":
		f.Done()
	case "make a child":
		child, cancel := context.WithTimeout(f, 4*time.Second)
		f.children, f.cancelChildren = append(f.children, child), append(f.cancelChildren, cancel)
	}
}

// seen is what one who looks sees.
func (f *family) seen(step string) string {
	done := "not looked at"
	if step == "wait for it" {
		select {
		case <-f.Done():
			done = "closed"
		default:
			done = "open"
		}
	}
	deadline, _ := f.Deadline()
	seen := fmt.Sprint(deadline.UnixNano(), f.Err(), f.Value(key{}), done)
	for _, child := range f.children {
		seen += fmt.Sprint(" child: ", child.Err())
	}
	return seen
}

func (f *family) end() {
	for _, cancel := range f.cancelChildren {
		cancel()
	}
	f.cancel()
	f.cancelParent()
}

// Whatever happens to it, and in whatever order, it looks like one of context.WithDeadline.
func TestItIsLikeTheUsualContext(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seconds := rapid.IntRange(1, 6)
		parentTime, own := time.Duration(seconds.Draw(rt, "parent"))*time.Second, time.Duration(seconds.Draw(rt, "own"))*time.Second
		steps := rapid.SliceOfN(rapid.SampledFrom([]string{"sleep", "cancel", "cancel the parent", "look", "wait for it", "make a child"}), 1, 10).Draw(rt, "steps")
		var ours, usual []string
		synctest.Test(t, func(*testing.T) {
			one := newFamily(parentTime, own, func(ctx context.Context, at time.Time) (context.Context, context.CancelFunc) { return With(ctx, at) })
			other := newFamily(parentTime, own, context.WithDeadline)
			defer one.end()
			defer other.end()
			for _, step := range steps {
				if step == "sleep" {
					time.Sleep(time.Second)
				}
				one.do(step)
				other.do(step)
				synctest.Wait()
				ours, usual = append(ours, one.seen(step)), append(usual, other.seen(step))
			}
		})
		for i, step := range steps {
			if ours[i] != usual[i] {
				rt.Fatalf("after step %d, %s: %s\nwant %s", i, step, ours[i], usual[i])
			}
		}
	})
}
