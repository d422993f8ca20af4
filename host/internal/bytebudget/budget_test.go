package bytebudget

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func TestWhoTakesAllHeCanLeavesRoomForOthers(t *testing.T) {
	b := New(100)
	for b.TryAcquire("greedy", 10) != nil {
	}
	if b.Used() != 50 {
		t.Errorf("greedy holds %d of 100", b.Used())
	}
	for _, other := range []string{"a", "b", "c"} {
		if b.TryAcquire(other, 10) == nil {
			t.Errorf("%s gets nothing", other)
		}
	}
}

func TestOneRequestMayTakeWhatIsFree(t *testing.T) {
	b := New(100)
	whole := b.TryAcquire("a", 100)
	if whole == nil {
		t.Fatal("the whole cannot be had")
	}
	if _, err := b.Acquire(t.Context(), "a", 101); !errors.Is(err, ErrTooLarge) {
		t.Errorf("more than the whole: %v", err)
	}
	whole.Shrink(30)
	if b.Used() != 30 {
		t.Errorf("%d are held", b.Used())
	}
	whole.Release()
	whole.Release()
	(*Share)(nil).Release()
	if b.Used() != 0 || len(b.held) != 0 {
		t.Errorf("%d are held after all was given back, by %v", b.Used(), b.held)
	}
}

func TestWhoWaitsIsServedInTurnAndMayLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(100)
		first := b.TryAcquire("a", 100)
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		served := make(chan string, 3)
		go func() {
			_, err := b.Acquire(impatient, "a", 60)
			served <- fmt.Sprint("impatient ", err)
		}()
		synctest.Wait()
		go func() {
			share, err := b.Acquire(t.Context(), "a", 40)
			served <- fmt.Sprint("patient ", err)
			share.Release()
		}()
		synctest.Wait()
		first.Shrink(50) // 40 would fit, were it not for the one before
		if got := b.TryAcquire("a", 1); got != nil {
			t.Error("a newcomer of the same holder is served before those who wait")
		}
		if got := <-served; got != "impatient context deadline exceeded" {
			t.Error(got)
		}
		first.Release()
		if got := <-served; got != "patient <nil>" {
			t.Error(got)
		}
		synctest.Wait()
		if b.Used() != 0 || b.waiting.Len() != 0 {
			t.Errorf("%d are held, %d wait", b.Used(), b.waiting.Len())
		}
	})
}

func TestABudgetIsNeverOverdrawnAndForgetsNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := New(int64(rapid.IntRange(1, 1000).Draw(t, "limit")))
		var shares []*Share
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			if len(shares) > 0 && rapid.Bool().Draw(t, "back") {
				i := rapid.IntRange(0, len(shares)-1).Draw(t, "which")
				shares[i].Shrink(int64(rapid.IntRange(0, 500).Draw(t, "to")))
				continue
			}
			holder := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "holder")
			if share := b.TryAcquire(holder, int64(rapid.IntRange(1, 500).Draw(t, "size"))); share != nil {
				shares = append(shares, share)
			}
			sum := int64(0)
			for _, share := range shares {
				sum += share.size
			}
			if sum != b.Used() || sum > b.Limit() {
				t.Fatalf("%d of %d are held, %d are counted", sum, b.Limit(), b.Used())
			}
		}
		for _, share := range shares {
			share.Release()
		}
		if b.Used() != 0 || len(b.held) != 0 {
			t.Fatalf("%d are held at the end, by %v", b.Used(), b.held)
		}
	})
}
