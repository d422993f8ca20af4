package jobs

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func nameOf(execution, node string) TaskName {
	return TaskName{Type: "sql", Execution: Execution{Project: "shop", Domain: "production", Name: execution}, Node: node}
}

// told is rows of calls in short.
func told(calls []Calls) string {
	text := ""
	for _, c := range calls {
		text += fmt.Sprintf("%d %s %d/%d by %d; ", c.Count, c.Method, c.Code, c.Hidden, c.PID)
	}
	return text
}

func TestCallsThatAreAlikeAreCountedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tasks := NewTasks(1 << 20)
		task := tasks.Attempt(Identify("attempt"), nameOf("f1", "n0"))
		start := time.Now()
		task.Note(Calls{Method: "CreateTask", PID: 1}, false)
		for range 3 {
			time.Sleep(time.Second)
			task.Note(Calls{Method: "GetTask", PID: 1}, false)
			task.Note(Calls{Method: "GetTask", Applied: 1 << 14}, false) // thinned, between them
		}
		task.Note(Calls{Method: "GetTask", Hidden: 14, Reason: "away"}, false)
		time.Sleep(time.Second)
		task.Note(Calls{Method: "GetTask", PID: 2}, true)
		task.Note(Calls{Method: "DeleteTask", PID: 2}, true)
		task.Note(Calls{Method: "GetTask", PID: 2}, false)

		found := tasks.Of(Execution{"shop", "production", "f1"})
		if len(found) != 1 || found[0].Node != "n0" || !found[0].Ended {
			t.Fatalf("%+v", found)
		}
		if got, want := told(found[0].Calls), "1 CreateTask 0/0 by 1; 3 GetTask 0/0 by 1; 3 GetTask 0/0 by 0; 1 GetTask 0/14 by 0; 1 GetTask 0/0 by 2; 1 DeleteTask 0/0 by 2; 1 GetTask 0/0 by 2; "; got != want {
			t.Errorf(" got %s\nwant %s", got, want)
		}
		polls := found[0].Calls[1]
		if !polls.First.Equal(start.Add(time.Second)) || !polls.Last.Equal(start.Add(3*time.Second)) {
			t.Errorf("polls from %v to %v", polls.First, polls.Last)
		}
	})
}

func TestTheFirstCallsAndTheLastOnesStay(t *testing.T) {
	tasks := NewTasks(1 << 20)
	task := tasks.Attempt(Identify("attempt"), nameOf("f1", "n0"))
	for pid := range 100 {
		task.Note(Calls{Method: "GetTask", PID: pid, Reason: fmt.Sprint(pid)}, false)
	}
	got := tasks.Of(Execution{"shop", "production", "f1"})[0]
	if got.Left != 100-maxCalls || len(got.Calls) != maxCalls || got.Calls[FirstCalls-1].PID != FirstCalls-1 || got.Calls[FirstCalls].PID != 100-maxCalls+FirstCalls || got.Calls[maxCalls-1].PID != 99 {
		t.Errorf("%d left out of %s", got.Left, told(got.Calls))
	}
}

func TestATaskIsFoundByEachNameOfItsJob(t *testing.T) {
	tasks := NewTasks(1 << 20)
	task := tasks.Attempt(Identify("attempt"), nameOf("f1", "n0"))
	if again := tasks.Attempt(Identify("attempt"), nameOf("f1", "n0")); again != task {
		t.Error("the attempt is another task the second time")
	}
	task.Bind(Identify("meta"), Identify("job"), Identify("job without a prefix"))
	other := tasks.Unknown(TaskName{Type: "sql"})
	other.Bind(Identify("meta"), Identify("other job"), Identify("job without a prefix")) // which a later job has now
	if tasks.Job(Identify("job")) != task || tasks.Job(Identify("other job")) != other || tasks.Job(Identify("job without a prefix")) != other || tasks.Job(Identify("none")) != nil {
		t.Error("a job's name leads to another task")
	}
	if found := tasks.ByMeta(Identify("meta")); len(found) != 2 || found[0].Node != "n0" || !found[0].HasAttempt || found[1].HasAttempt {
		t.Errorf("%+v", found)
	}
	if found := tasks.Called("f1"); len(found) != 1 || found[0] != (Execution{"shop", "production", "f1"}) || len(tasks.Called("f2")) != 0 {
		t.Errorf("executions called f1: %v", found)
	}
	for i := range 20 { // deleted and made again
		task.Bind(Identify("meta", fmt.Sprint(i)), Identify("job", fmt.Sprint(i)))
	}
	if tasks.Job(Identify("job")) != nil || tasks.Job(Identify("job", "19")) != task {
		t.Error("the names of a job are not those that it had last")
	}
}

func TestTasksThatHaveEndedAreForgottenFirst(t *testing.T) {
	tasks := NewTasks(20_000)
	made := func(i int) *Task {
		task := tasks.Attempt(Identify(fmt.Sprint(i)), nameOf(fmt.Sprintf("f%d", i), "n0"))
		task.Bind(Identify("meta", fmt.Sprint(i)), Identify("job", fmt.Sprint(i)))
		task.Note(Calls{Method: "CreateTask"}, false)
		return task
	}
	for i := range 10 {
		made(i)
	}
	made(10).Note(Calls{Method: "GetTask"}, true)
	made(11).Note(Calls{Method: "GetTask"}, true)
	for i := 12; tasks.Memory().Forgotten < 3; i++ {
		made(i)
	}
	there := func(i int) bool { return len(tasks.Called(fmt.Sprintf("f%d", i))) > 0 }
	if there(10) || there(11) || there(0) || !there(1) {
		t.Errorf("there are 10: %v, 11: %v, 0: %v, 1: %v; want the two that have ended and then the oldest gone", there(10), there(11), there(0), there(1))
	}
	if memory := tasks.Memory(); memory.Since.IsZero() || memory.Bytes > memory.Max {
		t.Errorf("%+v", memory)
	}
	if tasks.Job(Identify("job", "0")) != nil || len(tasks.ByMeta(Identify("meta", "0"))) > 0 {
		t.Error("a forgotten task is found by the names of its job")
	}
}

func TestOthersMakeRoomForATaskThatIsTheOldest(t *testing.T) {
	tasks := NewTasks(4_500)
	oldest := tasks.Attempt(Identify("oldest"), nameOf("f0", "n0"))
	for i := range 3 {
		tasks.Attempt(Identify(fmt.Sprint(i)), nameOf(fmt.Sprint("other", i), "n0"))
	}
	for pid := range maxCalls {
		oldest.Note(Calls{Method: "GetTask", PID: pid}, false)
	}
	if memory := tasks.Memory(); memory.Bytes > memory.Max || memory.Tasks < 1 || len(tasks.Called("f0")) != 1 {
		t.Errorf("%+v", memory)
	}
}

func TestWhatIsRememberedOfTasksIsCounted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tasks := NewTasks(rapid.Int64Range(2_000, 30_000).Draw(t, "max"))
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			i := rapid.IntRange(0, 30).Draw(t, "task")
			task := tasks.Attempt(Identify(fmt.Sprint(i)), nameOf("f", fmt.Sprint(i)))
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				task.Bind(Identify("meta", fmt.Sprint(i)), Identify("job", fmt.Sprint(rapid.IntRange(0, 20).Draw(t, "job"))))
			default:
				task.Note(Calls{Method: "GetTask", PID: rapid.IntRange(0, 30).Draw(t, "pid"), Reason: rapid.SampledFrom([]string{"", "away"}).Draw(t, "reason")}, rapid.Bool().Draw(t, "ended"))
			}
		}
		var size int64
		tasks.mu.Lock()
		defer tasks.mu.Unlock()
		count := 0
		for _, half := range []*queue{&tasks.live, &tasks.ended} {
			for task := range half.all() {
				count++
				size += task.weight()
				for i := range task.calls {
					size += task.calls[i].weight()
				}
			}
		}
		if size != tasks.size.Load() || count != tasks.count || count != len(tasks.attempts) {
			t.Fatalf("%d tasks in the queues, %d counted and %d by attempt, take %d bytes, and %d are counted", count, tasks.count, len(tasks.attempts), size, tasks.size.Load())
		}
		if size > tasks.max && count > 1 {
			t.Fatalf("%d tasks take %d bytes of %d", count, size, tasks.max)
		}
		for i := range tasks.shards {
			for job, task := range tasks.shards[i].jobs {
				if task.gone {
					t.Fatalf("job %x leads to a task that is forgotten", job)
				}
			}
		}
	})
}

func TestTasksAreNotedFromEverywhereAtOnce(t *testing.T) {
	tasks := NewTasks(50_000)
	var busy sync.WaitGroup
	for worker := range 8 {
		busy.Go(func() {
			for i := range 2_000 {
				name := fmt.Sprint(worker, i%100)
				task := tasks.Attempt(Identify(name), nameOf("f"+name, "n0"))
				task.Bind(Identify("meta", name), Identify("job", name))
				task.Note(Calls{Method: "GetTask", PID: i % 7, Reason: "away"}, i%3 == 0)
				if known := tasks.Job(Identify("job", fmt.Sprint(worker, i%50))); known != nil {
					known.Note(Calls{Method: "GetTask"}, false)
				}
				tasks.Of(Execution{"shop", "production", "f" + name})
			}
		})
	}
	busy.Wait()
	if memory := tasks.Memory(); memory.Bytes > memory.Max || memory.Bytes < 0 || memory.Tasks == 0 {
		t.Errorf("%+v", memory)
	}
}

func TestManyTasksStayWithinTheirBound(t *testing.T) {
	const most = 8 << 20
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	tasks := NewTasks(most)
	for i := range 200_000 {
		name := fmt.Sprint(i)
		job := Identify("job", name)
		task := tasks.Attempt(Identify(name), nameOf("f"+name, "n0"))
		task.Bind(Identify("meta", name), job)
		task.Note(Calls{Method: "CreateTask"}, false)
		tasks.Job(job).Note(Calls{Method: "GetTask"}, i%2 == 0)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	memory := tasks.Memory()
	if took := int64(after.HeapAlloc) - int64(before.HeapAlloc); took > 2*most || memory.Bytes > most || memory.Tasks < 5_000 {
		t.Errorf("%d bytes are taken, and counted as %+v", took, memory)
	} else {
		t.Logf("%d tasks in %d bytes, counted as %d", memory.Tasks, took, memory.Bytes)
	}
	runtime.KeepAlive(tasks)
}
