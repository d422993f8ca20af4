package agent

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/agenthost/agenthost/plugins/bigquery/service"
)

// progress is the message of a running job, such as "RUNNING, 3 of 7 stages, 41 of 120 units, 1.2 GiB processed, slot time
// 4m0s, 12s".
func (r *report) progress(now time.Time) string {
	parts := []string{service.Running}
	if stages := len(r.job.Stages); stages > 0 {
		complete := 0
		for _, stage := range r.job.Stages {
			if stage.Status == "COMPLETE" {
				complete++
			}
		}
		parts = append(parts, fmt.Sprintf("%d of %d stages", complete, stages))
	}
	if samples := len(r.job.Query.Timeline); samples > 0 {
		latest := r.job.Query.Timeline[samples-1]
		parts = append(parts, fmt.Sprintf("%d of %d units", latest.CompletedUnits, latest.CompletedUnits+latest.ActiveUnits+latest.PendingUnits))
	}
	if bytes := r.processed(); bytes > 0 {
		parts = append(parts, amount(bytes)+" processed")
	}
	if slots := r.slotTime(); slots > 0 {
		parts = append(parts, "slot time "+slots.Round(time.Second).String())
	}
	if start := r.job.Statistics.StartTime; known(start) {
		parts = append(parts, now.Sub(start).Round(time.Second).String())
	}
	return strings.Join(parts, ", ")
}

// statistics are the job's numbers for the custom info, as far as BigQuery tells them.
func (r *report) statistics() map[string]any {
	all, query := r.job.Statistics, r.job.Query
	info := map[string]any{"job_id": r.job.Ref.ID, "project": r.job.Ref.Project, "state": r.job.State}
	number := func(name string, value int64) {
		if value != 0 || r.job.State == service.Done {
			info[name] = value
		}
	}
	text := func(name, value string) {
		if value != "" {
			info[name] = value
		}
	}
	text("location", r.job.Ref.Location)
	text("statement_type", query.StatementType)
	number("bytes_processed", r.processed())
	number("bytes_billed", query.TotalBytesBilled)
	number("slot_ms", r.slotTime().Milliseconds())
	if known(all.StartTime) {
		number("queued_ms", all.StartTime.Sub(all.CreationTime).Milliseconds())
	}
	if r.job.State != service.Done {
		return info
	}
	info["cache_hit"] = query.CacheHit
	if known(all.StartTime) && known(all.EndTime) {
		info["elapsed_ms"] = all.EndTime.Sub(all.StartTime).Milliseconds()
	}
	if r.rows != nil {
		info["rows"] = *r.rows
	}
	if query.DMLStats != nil || query.NumDMLAffectedRows != 0 {
		info["rows_affected"] = query.NumDMLAffectedRows
	}
	if r.pricePerTiB > 0 {
		info["cost_estimate"] = float64(query.TotalBytesBilled) / (1 << 40) * r.pricePerTiB
	}
	return info
}

func (r *report) processed() int64 {
	return max(r.job.Statistics.TotalBytesProcessed, r.job.Query.TotalBytesProcessed)
}

func (r *report) slotTime() time.Duration {
	return max(r.job.Statistics.TotalSlotDuration, time.Duration(r.job.Query.SlotMillis)*time.Millisecond)
}

// known says whether BigQuery has told a time. The client makes the zero time of one that it has not, or a stage's 1970.
func known(at time.Time) bool { return at.UnixMilli() > 0 }

// amount is a number of bytes for people, such as "1.2 GiB".
func amount(bytes int64) string {
	value, unit := float64(bytes), 0
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	if unit == 0 {
		return strconv.FormatInt(bytes, 10) + " B"
	}
	return fmt.Sprintf("%.1f %s", value, units[unit])
}

var units = []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
