// Package ledger is the external system of the chaos run: a job service with a truth of its own, over HTTP on loopback.
//
// The chaos plugin makes, polls and cancels its jobs here, as an agent does with a warehouse or a batch service. What becomes
// of a job is decided here, by a Plan, and noted here; when the run is over, the checker holds what Flyte believes against it.
// A job that was made twice for one attempt of a task is found because the ledger tells attempts apart by what Flyte calls
// them, and not by the idempotency key that the host passed on.
//
// The ledger is also where faults come from that have to happen in the middle of a call: its answer can tell the plugin to
// exit, to hang, to print garbage, to fork (see Do), after the job was made or before, which nothing outside could time. And it
// has weather: for a while it is slow, or answers everything with 503.
package ledger
