package jobs

import (
	"math"
	"strconv"
	"testing"
)

// What a poll adds to the hot path: the job's ID, and the same answer as ever.
func BenchmarkAnsweredAsBefore(b *testing.B) {
	statuses := NewStatuses(64 << 20)
	meta, answer := make([]byte, 100), make([]byte, 300)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			statuses.Answered(Identify("plugin", "category", "s3://bucket/prefix", string(meta)), answer, false)
		}
	})
}

// What noting it with its task adds to that.
func BenchmarkNotedAsBefore(b *testing.B) {
	tasks := NewTasks(1 << 20)
	job := Identify("plugin", "category", "s3://bucket/prefix", "meta")
	tasks.Attempt(Identify("attempt"), TaskName{Type: "sql"}).Bind(Identify("meta"), job)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			tasks.Job(job).Note(Calls{Method: "GetTask", Plugin: "plugin", Generation: "0123456789abcdef", PID: 12}, false)
		}
	})
}

// What counting its job adds to that, with a million others.
func BenchmarkCountedAsBefore(b *testing.B) {
	running := manyJobs(1_000_000)
	meta, owner := []byte("5"), Owner{"plugin 1", "generation 1"}
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			running.Heard(running.Key("sql", meta), owner, 1<<5)
		}
	})
}

// What the page and the status cost by that.
func BenchmarkCountsOfAMillionJobs(b *testing.B) {
	running := manyJobs(1_000_000)
	b.ReportAllocs()
	for b.Loop() {
		running.Counts()
	}
}

// What a sweep costs, every five seconds.
func BenchmarkSweepOfAMillionJobs(b *testing.B) {
	running := manyJobs(1_000_000)
	for b.Loop() {
		running.Sweep()
	}
}

// What a new task costs where another is forgotten for it, with whom it shares nothing, or its execution and its resource_meta, as in a
// large map task and with agents whose jobs have no names of their own.
func BenchmarkATaskForAnother(b *testing.B) {
	for name, executions := range map[string]int{"sharing nothing": math.MaxInt, "of one execution": 1} {
		b.Run(name, func(b *testing.B) {
			tasks := NewTasks(32 << 20)
			add := func(i int) {
				text := strconv.Itoa(i % executions)
				task := tasks.Attempt(Identify("attempt", strconv.Itoa(i)), TaskName{Type: "sql", Execution: Execution{Name: text}})
				task.Bind(Identify("meta", text), Identify("job", strconv.Itoa(i)))
			}
			i := 0
			for ; tasks.Memory().Forgotten == 0; i++ {
				add(i)
			}
			b.ReportAllocs()
			for b.Loop() {
				add(i)
				i++
			}
		})
	}
}
