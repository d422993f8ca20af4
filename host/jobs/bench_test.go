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
