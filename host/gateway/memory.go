package gateway

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/internal/bytebudget"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/tracing"
)

// Limits bound what callers and plugins can make the host spend. A zero value is DefaultLimits'.
type Limits struct {
	// Memory is the most bytes of large messages that may be under way, half of it for requests and half for answers: those who hold
	// a request wait for an answer, and must not wait for each other.
	Memory int64
	// Calls is how many calls may be under way, CallsPerConnection how many of one connection.
	Calls, CallsPerConnection int
	// ConnectionIdle is after how long without a call a connection is asked to close.
	ConnectionIdle time.Duration
}

// DefaultLimits are those of a host with plenty.
func DefaultLimits() Limits {
	return Limits{Memory: 1 << 30, Calls: 8192, CallsPerConnection: 1024, ConnectionIdle: 2 * time.Hour}
}

func (l Limits) orDefault() Limits {
	usual := DefaultLimits()
	return Limits{
		Memory: cmp.Or(l.Memory, usual.Memory), Calls: cmp.Or(l.Calls, usual.Calls),
		CallsPerConnection: cmp.Or(l.CallsPerConnection, usual.CallsPerConnection), ConnectionIdle: cmp.Or(l.ConnectionIdle, usual.ConnectionIdle),
	}
}

// memory is what is under way, and its bounds.
type memory struct {
	requests, answers *bytebudget.Budget
	maxMessage        int
	maxCalls          int64
	calls             atomic.Int64
	callers           *[callerCounts]atomic.Int64 // calls by whom they are from; some share a count
	seed              maphash.Seed
	refused           *prometheus.CounterVec
	waits             *waits
	reclaiming        sync.Mutex
	uncollected       atomic.Int64 // bytes of large requests since the last collection
}

const callerCounts = 1024

func newMemory(limits Limits, maxMessage int, registry prometheus.Registerer) *memory {
	m := &memory{
		requests: bytebudget.New(limits.Memory / 2), answers: bytebudget.New(limits.Memory / 2), maxMessage: maxMessage, maxCalls: int64(limits.Calls),
		callers: new([callerCounts]atomic.Int64), seed: maphash.MakeSeed(),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agenthost_refused_total",
			Help: "Calls that a limit of the host refused (limit: memory, calls or message_size), and answers of plugins that were not read to their end (answer_size).",
		}, []string{"limit"}),
	}
	registry.MustRegister(m.refused)
	for of, b := range map[string]*bytebudget.Budget{"requests": m.requests, "answers": m.answers} {
		labels := prometheus.Labels{"of": of}
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "agenthost_memory_under_way_bytes", Help: "Bytes of large messages under way, and room held for them.", ConstLabels: labels,
		}, func() float64 { return float64(b.Used()) }), prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "agenthost_memory_limit_bytes", Help: "How many there may be: half of limits.memory.", ConstLabels: labels,
		}, func() float64 { return float64(b.Limit()) }))
	}
	return m
}

// begin counts a call in, or refuses it: no caller may have more under way than he leaves to others. After nil, end counts it out.
func (m *memory) begin(ctx context.Context) (end func(), err error) {
	from := &m.callers[maphash.String(m.seed, callerOf(ctx))%callerCounts]
	all, own := m.calls.Add(1), from.Add(1)
	if own <= m.maxCalls-all+1 {
		return func() { m.calls.Add(-1); from.Add(-1) }, nil
	}
	m.calls.Add(-1)
	from.Add(-1)
	m.refused.WithLabelValues("calls").Inc()
	return nil, status.Errorf(codes.ResourceExhausted, "there are as many calls under way from this caller as limits.calls, which is %d, leaves to one beside the others", m.maxCalls)
}

// request waits for room for a request, until just before its deadline.
func (m *memory) request(ctx context.Context, method string, size int) (*bytebudget.Share, error) {
	if share := m.requests.TryAcquire(callerOf(ctx), int64(size)); share != nil {
		m.collect(int64(size))
		return share, nil
	}
	defer m.waits.begin("", OnMemory)()
	waiting, cancel := justBefore(ctx, 0)
	defer cancel()
	defer m.reclaim()()
	defer noteOf(ctx).trace.Wait(tracing.OnMemory)()
	share, err := m.requests.Acquire(waiting, callerOf(ctx), int64(size))
	switch {
	case err == nil:
		m.collect(int64(size))
		return share, nil
	case canceled(ctx):
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	m.refused.WithLabelValues("memory").Inc()
	return nil, status.Errorf(codes.ResourceExhausted, "this %s has %d bytes, and there was no room for it in time among the %d bytes that limits.memory leaves to requests under way",
		method, size, m.requests.Limit())
}

// answer waits for room for a plugin's answer, until just before the deadline: the first of the sizes that there is room for now, else the
// last one.
func (m *memory) answer(ctx context.Context, of string, sizes answerSizes) (share *bytebudget.Share, size int, err error) {
	for _, size := range sizes {
		size = min(size, int(m.answers.Limit()))
		if size <= smallMessage {
			return nil, size, nil
		}
		if share := m.answers.TryAcquire(of, int64(size)); share != nil {
			return share, size, nil
		}
	}
	enough := min(sizes.enough(), int(m.answers.Limit()))
	defer m.waits.begin(of, OnMemory)()
	waiting, cancel := justBefore(ctx, 0)
	defer cancel()
	defer m.reclaim()()
	defer noteOf(ctx).trace.Wait(tracing.OnMemory)()
	share, err = m.answers.Acquire(waiting, of, int64(enough))
	switch {
	case err == nil:
		return share, enough, nil
	case canceled(ctx):
		return nil, 0, status.FromContextError(ctx.Err()).Err()
	}
	m.refused.WithLabelValues("memory").Inc()
	return nil, 0, status.Errorf(codes.ResourceExhausted, "plugin %q was not asked: there was no room in time for an answer of %d bytes among the %d bytes that limits.memory leaves to answers under way",
		of, enough, m.answers.Limit())
}

// reclaim has what is held by messages looked for that nobody will read, while somebody waits: a connection that breaks leaves its messages to the
// garbage collector, which nothing else may have reason to run.
func (m *memory) reclaim() (stop func() bool) {
	return time.AfterFunc(reclaimAfter, func() {
		if m.reclaiming.TryLock() {
			runtime.GC()
			m.reclaiming.Unlock()
		}
	}).Stop
}

// collect is called before memory for a large message is allocated, and has what earlier ones took collected first, where that may be as
// much as all of them may take: the collector's own pace lets garbage grow beyond what there is.
func (m *memory) collect(size int64) {
	if m.uncollected.Add(size) <= m.requests.Limit() {
		return
	}
	m.reclaiming.Lock()
	defer m.reclaiming.Unlock()
	if m.uncollected.Load() > m.requests.Limit() { // nobody else has done it meanwhile
		runtime.GC()
		m.uncollected.Store(size)
	}
}

const reclaimAfter = 200 * time.Millisecond

// callerOf is whom a request's share is counted on: the machine that it comes from.
//
// The string of a TCP address's bytes is of no use but to be compared.
func callerOf(ctx context.Context) string {
	from, ok := peer.FromContext(ctx)
	if !ok || from.Addr == nil {
		return ""
	}
	if tcp, ok := from.Addr.(*net.TCPAddr); ok {
		return string(tcp.IP)
	}
	return from.Addr.String()
}

// room is what large messages of a call are counted on, for as long as anybody reads one of them: a message may wait long for a plugin
// or caller who does not read.
type room struct {
	share    *bytebudget.Share
	messages atomic.Int32
	holders  atomic.Int32 // of requests that are freed by nobody
}

// buffer is a message that is counted on the room.
func (r *room) buffer(message []byte) mem.BufferSlice {
	if r == nil {
		return mem.BufferSlice{mem.SliceBuffer(message)}
	}
	r.messages.Add(1)
	whole := &message
	once := &counted{room: r}
	runtime.AddCleanup(whole, (*counted).end, once) // where nobody frees it
	return mem.BufferSlice{mem.NewBuffer(whole, once)}
}

// hold has the message of a frame that nobody frees counted until each of those who hold it has ended that.
func (f *frame) hold() (end func()) {
	r := f.room
	if r == nil {
		return func() {}
	}
	r.holders.Add(1)
	return func() {
		if r.holders.Add(-1) == 0 {
			f.buffers = nil // before whoever waits for the room looks for memory that nobody uses any more
			r.share.Release()
		}
	}
}

// counted is one message's count, as the pool that its memory goes back to. Nobody uses that again.
type counted struct {
	room  *room
	ended atomic.Bool
}

func (c *counted) Get(length int) *[]byte { fresh := make([]byte, length); return &fresh }

func (c *counted) Put(*[]byte) { c.end() }

func (c *counted) end() {
	if !c.ended.Swap(true) && c.room.messages.Add(-1) == 0 {
		c.room.share.Release()
	}
}

// count has the message of an answer counted on the share that was taken for it.
func (f *frame) count(share *bytebudget.Share) {
	size := f.buffers.Len()
	if share == nil || size <= smallMessage {
		share.Release()
		return
	}
	share.Shrink(int64(size))
	whole := make([]byte, size)
	f.buffers.CopyTo(whole)
	f.buffers.Free()
	f.room = &room{share: share}
	f.buffers = f.room.buffer(whole)
}

// tooLarge says that an answer was not read to its end because of its size, and how large it is as far as that is known.
func tooLarge(err error) bool {
	s := status.Convert(err)
	return s.Code() == codes.ResourceExhausted && strings.HasPrefix(s.Message(), "grpc: ") && strings.Contains(s.Message(), "larger than max")
}

// overlong is what is said of such an answer.
func (c *routedCall) overlong() string {
	return fmt.Sprintf("plugin %q gave an answer to %s for %s that is larger than the %s it may have, and was not read to its end",
		c.route.Target.Plugin(), c.method.name, c.route.Category, c.method.largest())
}

const (
	// maxMeta is the largest answer to CreateTask, in bytes: it holds a resource_meta, and both Flytes keep that where there is room for
	// 1.5 MiB of all that is in flight.
	maxMeta = 1 << 20
	// enoughAnswer is how much room an answer gets that comes once, where there is little, in bytes; maxAnswer otherwise.
	enoughAnswer = 256 << 10
)

// answerSizes are how large an answer may be, in bytes, the largest first, and less where there is little room.
type answerSizes []int

// enough is what has to do.
func (s answerSizes) enough() int { return s[len(s)-1] }

// The sizes by method. A poll that found too little room for its answer would end its job: it waits.
var (
	createSizes = answerSizes{maxMeta, smallMessage}
	deleteSizes = answerSizes{smallMessage}
	pollSizes   = answerSizes{plugin.MaxAnswer}
	syncSizes   = answerSizes{plugin.MaxAnswer, maxAnswer, enoughAnswer}
	otherSizes  = answerSizes{maxAnswer, enoughAnswer}
)

func (m *method) answerSizes() answerSizes {
	switch {
	case m.creates:
		return createSizes
	case m.deletes:
		return deleteSizes
	case m.polls:
		return pollSizes
	case m.sync:
		return syncSizes
	}
	return otherSizes
}

// largest is that for people.
func (m *method) largest() string {
	sizes := m.answerSizes()
	if len(sizes) == 1 {
		return bytesOf(sizes[0])
	}
	return fmt.Sprintf("%s (%s, where limits.memory leaves no more)", bytesOf(sizes[0]), bytesOf(sizes.enough()))
}

func bytesOf(size int) string {
	if size%(1<<20) == 0 {
		return fmt.Sprintf("%d MiB", size>>20)
	}
	return fmt.Sprintf("%d KiB", size>>10)
}

// answerRoom is the room for an answer. In polls the plugin's connection asks for it, once it knows the size.
type answerRoom struct {
	grpc.EmptyCallOption
	memory *memory
	plugin string
	share  atomic.Pointer[bytebudget.Share]
	// none says that there was no room in time.
	none atomic.Bool
}

var _ plugin.Admission = (*answerRoom)(nil)

// noShare is that of a call that has ended.
var noShare bytebudget.Share

// Now implements plugin.Admission.
func (r *answerRoom) Now(size int) bool {
	return r.keep(r.memory.answers.TryAcquire(r.plugin, int64(size)))
}

// Wait implements plugin.Admission.
func (r *answerRoom) Wait(ctx context.Context) error {
	share, _, err := r.memory.answer(ctx, r.plugin, pollSizes)
	if err == nil {
		r.keep(share)
	} else {
		r.none.Store(true)
	}
	return err
}

func (r *answerRoom) keep(share *bytebudget.Share) bool {
	if share == nil {
		return false
	}
	if former := r.share.Swap(share); former == &noShare { // it was for nobody any more
		r.share.Store(former)
		share.Release()
		return false
	} else if former != nil {
		former.Release()
	}
	return true
}

// end returns what was taken; nil where that is nothing. Nothing is taken any more.
func (r *answerRoom) end() *bytebudget.Share { return r.share.Swap(&noShare) }
