package agent

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/api/bigquery/v2"
)

// progress is the message of a running job, such as "RUNNING, 3 of 7 stages, 41 of 120 units, 1.2 GiB processed, slot time
// 4m0s, 12s".
func progress(statistics *bigquery.JobStatistics, now time.Time) string {
	parts := []string{running}
	query := statistics.Query
	if stages := len(query.QueryPlan); stages > 0 {
		complete := 0
		for _, stage := range query.QueryPlan {
			if stage.Status == "COMPLETE" {
				complete++
			}
		}
		parts = append(parts, fmt.Sprintf("%d of %d stages", complete, stages))
	}
	if samples := len(query.Timeline); samples > 0 {
		latest := query.Timeline[samples-1]
		parts = append(parts, fmt.Sprintf("%d of %d units", latest.CompletedUnits, latest.CompletedUnits+latest.ActiveUnits+latest.PendingUnits))
	}
	if bytes := processed(statistics); bytes > 0 {
		parts = append(parts, amount(bytes)+" processed")
	}
	if slots := slotMillis(statistics); slots > 0 {
		parts = append(parts, "slot time "+seconds(slots).String())
	}
	if statistics.StartTime > 0 {
		parts = append(parts, now.Sub(time.UnixMilli(statistics.StartTime)).Round(time.Second).String())
	}
	return strings.Join(parts, ", ")
}

// statistics are the job's numbers for the custom info, as far as BigQuery tells them.
func (r *report) statistics() map[string]any {
	all, query := r.job.Statistics, r.job.Statistics.Query
	info := map[string]any{"job_id": r.ref.ID, "project": r.ref.Project, "state": r.job.Status.State}
	number := func(name string, value int64) {
		if value != 0 || r.job.Status.State == done {
			info[name] = value
		}
	}
	text := func(name, value string) {
		if value != "" {
			info[name] = value
		}
	}
	text("location", r.ref.Location)
	text("statement_type", query.StatementType)
	number("bytes_processed", processed(all))
	number("bytes_billed", query.TotalBytesBilled)
	number("slot_ms", slotMillis(all))
	if all.StartTime > 0 {
		number("queued_ms", all.StartTime-all.CreationTime)
	}
	if r.job.Status.State != done {
		return info
	}
	info["cache_hit"] = query.CacheHit
	if all.StartTime > 0 && all.EndTime > 0 {
		info["elapsed_ms"] = all.EndTime - all.StartTime
	}
	if r.rows != nil {
		info["rows"] = *r.rows
	}
	if query.DmlStats != nil || query.NumDmlAffectedRows != 0 {
		info["rows_affected"] = query.NumDmlAffectedRows
	}
	if r.pricePerTiB > 0 {
		info["cost_estimate"] = float64(query.TotalBytesBilled) / (1 << 40) * r.pricePerTiB
	}
	return info
}

func processed(statistics *bigquery.JobStatistics) int64 {
	return max(statistics.TotalBytesProcessed, statistics.Query.TotalBytesProcessed)
}

func slotMillis(statistics *bigquery.JobStatistics) int64 {
	return max(statistics.TotalSlotMs, statistics.Query.TotalSlotMs)
}

func seconds(millis int64) time.Duration {
	return (time.Duration(millis) * time.Millisecond).Round(time.Second)
}

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
