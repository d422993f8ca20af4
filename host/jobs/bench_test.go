package jobs

import "testing"

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
