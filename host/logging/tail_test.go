package logging

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agenthost/agenthost/test/wait"
)

func printed(text string) Printed {
	return Printed{Time: time.Unix(1, 0), Generation: "g", Instance: 1, PID: 7, Object: fmt.Appendf(nil, `{"@level":"warn","@message":%q,"@timestamp":"never","size":12345678901234567890}`, text)}
}

func messages(t *Tails, plugin string, last int) string {
	var all []string
	for line := range t.Lines(context.Background(), plugin, last, false) {
		all = append(all, line.Message)
	}
	return strings.Join(all, " ")
}

func TestALineIsTakenApart(t *testing.T) {
	tails := &Tails{}
	tails.Add("a", printed("it is late"))
	tails.Add("a", Printed{Object: []byte("no JSON")})
	var got []Line
	for line := range tails.Lines(t.Context(), "a", 10, false) {
		got = append(got, line)
	}
	want := []Line{
		{Time: time.Unix(1, 0), Generation: "g", Instance: 1, PID: 7, Level: "warn", Message: "it is late", Fields: map[string]json.RawMessage{"size": json.RawMessage("12345678901234567890")}},
		{Level: "warn", Message: "no JSON"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTheLastLinesStay(t *testing.T) {
	tails := &Tails{}
	for n := range 5 {
		tails.Add("a", printed(fmt.Sprint(n)))
	}
	tails.Add("b", printed("b"))
	for last, want := range map[int]string{0: "", 2: "3 4", 100: "0 1 2 3 4", -1: ""} {
		if got := messages(tails, "a", last); got != want {
			t.Errorf("the last %d are %q", last, got)
		}
	}
	if got := messages(tails, "c", 10); got != "" || tails.Has("c") || !tails.Has("a") {
		t.Errorf("of one that has printed nothing there is %q", got)
	}
}

func TestTailsAreBounded(t *testing.T) {
	tails := &Tails{}
	size := func() (all int) {
		for _, each := range tails.plugins {
			sum := 0
			for _, line := range each.lines {
				sum += line.size()
			}
			if sum != each.size {
				t.Fatalf("a size of %d is taken for %d", sum, each.size)
			}
			all += sum
		}
		return all
	}
	long := strings.Repeat("x", 1000)
	for plugin := range 500 {
		for range 100 {
			tails.Add(fmt.Sprint(plugin), printed(long))
		}
		if plugin == 0 && (size() > TailBytes || size() < TailBytes/2) {
			t.Errorf("of one plugin %d bytes are kept", size())
		}
	}
	if size() > AllTailsBytes || size() < AllTailsBytes/2 {
		t.Errorf("of 500 plugins %d bytes are kept", size())
	}
	tails.Add("0", printed(strings.Repeat("y", AllTailsBytes)))
	if got := messages(tails, "0", 10); len(got) < AllTailsBytes {
		t.Error("the last line is not kept, however long it is")
	}
}

func TestWhoFollowsSeesWhatComes(t *testing.T) {
	tails := &Tails{}
	tails.Add("a", printed("before"))
	ctx, cancel := context.WithCancel(t.Context())
	lines, ended := make(chan string), make(chan struct{})
	go func() {
		defer close(ended)
		for line := range tails.Lines(ctx, "a", 10, true) {
			lines <- line.Message
		}
	}()
	if got := <-lines; got != "before" {
		t.Errorf("first comes %s", got)
	}
	tails.Add("b", printed("of another"))
	tails.Add("a", printed("after"))
	if got := <-lines; got != "after" {
		t.Errorf("then comes %s", got)
	}
	for n := range 10 * followBuffer { // it does not wait for the reader
		tails.Add("a", printed(fmt.Sprint(n)))
	}
	for last := ""; last != fmt.Sprint(10*followBuffer-1); {
		last = <-lines
	}
	cancel()
	<-ended
	wait.Until(t, "the reader is gone", func() bool { tails.mu.Lock(); defer tails.mu.Unlock(); return len(tails.plugins["a"].readers) == 0 })
}
