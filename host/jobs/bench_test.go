package jobs

import (
	"math"
	"runtime"
	"strconv"
	"testing"
	"time"
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

// What a job takes in each memory, made and polled.
func BenchmarkBytesOfAJob(b *testing.B) {
	const count = 20_000
	text := func(i int) string { return "bench-" + strconv.Itoa(i) }
	memories := map[string]func() any{
		"Statuses": func() any {
			statuses := NewStatuses(1 << 30)
			for i := range count {
				statuses.Answered(Identify("job", text(i)), []byte("what its status is"), false)
			}
			return statuses
		},
		"Creates": func() any {
			creates := NewCreates(1<<30, time.Hour)
			for i := range count {
				n, _ := creates.Begin(Identify("attempt", text(i)), nil, func(*Creation) Outcome {
					return Outcome{Made: Made{Answer: []byte(text(i)), Meta: []byte(text(i)), Job: Identify("job", text(i))}}
				})
				n.Outcome()
			}
			return creates
		},
		"Tasks": func() any {
			tasks := NewTasks(1 << 30)
			for i := range count {
				task := tasks.Attempt(Identify("attempt", text(i)), nameOf(text(i), "n0"))
				task.Bind(Identify("meta", text(i)), Identify("job", text(i)), Identify("job without a prefix", text(i)))
				task.Note(Calls{Method: "CreateTask", Plugin: "plugin", Generation: "0123456789abcdef", PID: 12}, false)
				task.Note(Calls{Method: "GetTask", Plugin: "plugin", Generation: "0123456789abcdef", PID: 12}, false)
			}
			return tasks
		},
		"Running": func() any { return manyJobs(count) },
	}
	for name, fill := range memories {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				before := living()
				filled := fill()
				b.ReportMetric((living()-before)/count, "B/job")
				runtime.KeepAlive(filled)
			}
		})
	}
}

// living is how many bytes of the heap are in use.
func living() float64 {
	var stats runtime.MemStats
	for range 2 { // what was pooled goes with the second collection
		runtime.GC()
	}
	runtime.ReadMemStats(&stats)
	return float64(stats.HeapAlloc)
}
