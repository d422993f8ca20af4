package page

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agenthost/agenthost/host/series"
)

const (
	// maxViewers is how many may look at a time: fewer than the admin address takes connections, so that the command line has some.
	maxViewers = 12
	// maxViews is how many views are remembered that nobody may be looking at any more.
	maxViews = 32
	// gather is how long what happens at once may take to be told at once.
	gather = 100 * time.Millisecond
	// Looking costs at most costShare of one processor on average, however much happens and whoever looks, and costBurst at once; and what
	// is seen is no older than slowest.
	costShare, costBurst, slowest = 1.5e-3, 100 * time.Millisecond, 10 * time.Second
	// samplesTold is how many samples are told at once: figures change every ten seconds, states at once.
	samplesTold = 2
	// freshFor is for how long a snapshot is good for who asks for a page.
	freshFor = 250 * time.Millisecond
	// writeTime is how long a viewer may take to read what there is for him, beat how often he hears something at least, and viewTime how
	// long he looks before he has to ask again, and is judged again.
	writeTime, beat, viewTime = 10 * time.Second, 15 * time.Second, 10 * time.Minute
)

// live keeps the views that are looked at as they should be. One goroutine does, while there are viewers; it waits for none of them.
type live struct {
	page *Page

	mu      sync.Mutex
	views   map[string]*view
	viewers map[*viewer]struct{}
	seq     uint64
	last    *snapshot
	stop    context.CancelFunc // of the goroutine; nil while there is none
}

func newLive(p *Page) *live {
	// seq goes on from a life of the host to the next, so that what a browser has of the one before is not taken for what it has of this.
	return &live{page: p, views: map[string]*view{}, viewers: map[*viewer]struct{}{}, seq: uint64(time.Now().UnixMilli())}
}

// viewer is one browser that looks at a view.
type viewer struct {
	of   *view
	wake chan struct{} // has an element when there is something new
	seen uint64        // what it has
}

// snapshot is what there is now, as of a moment ago.
func (l *live) snapshot(of *view) *snapshot {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.look(of, freshFor)
}

// look makes a snapshot unless there is a new one, with what a view wants besides.
func (l *live) look(of *view, maxAge time.Duration) *snapshot {
	if l.last == nil || time.Since(l.last.at) >= maxAge {
		l.last = l.page.snapshot()
	}
	if of != nil {
		l.last.wantSeries(of.plugins(l.last))
	}
	return l.last
}

// view is the view at an address.
func (l *live) view(at *url.URL) (*view, error) {
	v, err := l.page.viewAt(at)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if known := l.views[v.key]; known != nil {
		return known, nil
	}
	if len(l.views) >= maxViews {
		l.forgetOne()
	}
	l.views[v.key] = v
	return v, nil
}

// forgetOne forgets the view that was asked for longest ago, of those that nobody looks at.
func (l *live) forgetOne() {
	looked := map[*view]bool{}
	for viewer := range l.viewers {
		looked[viewer.of] = true
	}
	var oldest *view
	for _, v := range l.views {
		if !looked[v] && (oldest == nil || v.used.Before(oldest.used)) {
			oldest = v
		}
	}
	if oldest != nil {
		delete(l.views, oldest.key)
	}
}

// content is a view as it is now.
func (l *live) content(v *view) content {
	l.mu.Lock()
	defer l.mu.Unlock()
	v.used = time.Now()
	l.refresh(v, l.look(v, freshFor))
	return v.whole(l.page)
}

// refresh makes of a view what has changed.
func (l *live) refresh(v *view, s *snapshot) {
	if v.content.of == s {
		return
	}
	l.seq++
	v.refresh(l.page, s, l.seq)
}

// run keeps views as they should be until ctx ends.
func (l *live) run(ctx context.Context) {
	more := l.page.happened.more
	budget := newBudget(time.Now())
	runtime.LockOSThread() // whose time it is
	defer runtime.UnlockOSThread()
	for {
		began := processorTime()
		l.tick()
		budget.spend(processorTime() - began)
		for samples := 0; samples < samplesTold; {
			select {
			case <-ctx.Done():
				return
			case <-l.page.options.Series.Taken():
				samples++
			case <-more:
				samples = samplesTold
			}
		}
		pause := time.NewTimer(max(gather, min(budget.wait(time.Now()), slowest)))
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
	}
}

// processorTime is what the calling thread has had of the processors. By the clock, looking would cost what others have of them, and the page
// would lag just when a machine has much to do.
func processorTime() time.Duration {
	var taken unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &taken); err != nil {
		return 0 // every Linux has this clock
	}
	return time.Duration(taken.Nano())
}

// tick looks once for all.
func (l *live) tick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	looked := map[*view]bool{}
	for viewer := range l.viewers {
		looked[viewer.of] = true
	}
	s := l.look(nil, 0)
	for v := range looked {
		s.wantSeries(v.plugins(s))
		l.refresh(v, s)
	}
	for viewer := range l.viewers {
		if viewer.of.changed == viewer.of.content.seq {
			viewer.tell()
		}
	}
}

func (v *viewer) tell() {
	select {
	case v.wake <- struct{}{}:
	default: // it has not looked since
	}
}

// join has somebody look at a view; false: enough do.
func (l *live) join(v *view, seen uint64) (*viewer, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.viewers) >= maxViewers {
		return nil, false
	}
	one := &viewer{of: v, wake: make(chan struct{}, 1), seen: seen}
	one.tell()
	l.viewers[one] = struct{}{}
	if l.stop == nil {
		ctx, stop := context.WithCancel(context.Background())
		l.stop = stop
		go l.run(ctx)
	}
	return one, true
}

func (l *live) leave(one *viewer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.viewers, one)
	if len(l.viewers) == 0 {
		l.stop()
		l.stop = nil
	}
}

// news is what a viewer is told of what has changed since he last was; empty: nothing has. Those who have seen the same are told the same.
func (l *live) news(one *viewer) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := one.of
	from, to := one.seen, v.content.seq
	one.seen = to
	if from >= v.changed {
		return ""
	}
	if v.news.text == "" || v.news.from != from || v.news.to != to {
		v.news = news{from, to, message(v.since(from), to)}
	}
	return v.news.text
}

// serve tells a browser what changes, as server-sent events.
func (l *live) serve(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	at, err := url.Parse(query.Get("of"))
	if err != nil {
		http.Error(w, "of is no path of the page", http.StatusBadRequest)
		return
	}
	v, err := l.view(at)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	since := query.Get("since")
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		since = last
	}
	seen, err := strconv.ParseUint(since, 10, 64)
	if err != nil {
		http.Error(w, "since is to be a number", http.StatusBadRequest)
		return
	}
	one, ok := l.join(v, seen)
	if !ok {
		w.Header().Set("Retry-After", "30")
		http.Error(w, fmt.Sprintf("%d browsers are told of changes already: reload the page to see them", maxViewers), http.StatusServiceUnavailable)
		return
	}
	defer l.leave(one)
	protect(w)
	w.Header().Set("Content-Type", "text/event-stream")
	l.stream(w, r, one)
}

func (l *live) stream(w http.ResponseWriter, r *http.Request, one *viewer) {
	controller := http.NewResponseController(w)
	write := func(text string) bool {
		if controller.SetWriteDeadline(time.Now().Add(writeTime)) != nil {
			return false
		}
		if _, err := w.Write([]byte(text)); err != nil {
			return false
		}
		return controller.Flush() == nil
	}
	ends, beats := time.NewTimer(viewTime), time.NewTicker(beat)
	defer ends.Stop()
	defer beats.Stop()
	if !write("retry: 2000\n\n") {
		return
	}
	for {
		text := ": \n\n"
		select {
		case <-r.Context().Done():
			return
		case <-ends.C:
			return
		case <-beats.C:
		case <-one.wake:
			if text = l.news(one); text == "" {
				continue
			}
		}
		if !write(text) {
			return
		}
	}
}

// message is what a browser is told.
func message(changes []change, seq uint64) string {
	pairs := make([][2]string, len(changes))
	for i, c := range changes {
		pairs[i] = [2]string{c.id, c.html}
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // it is no part of a page, and would be half as long again
	if encoder.Encode(pairs) != nil {
		return ": \n\n" // strings always can be written
	}
	return fmt.Sprintf("id: %d\nevent: change\ndata: %s\n", seq, text.Bytes()) // which ends its line
}

// budget keeps what looking costs to a share of the time.
type budget struct {
	at   time.Time
	left time.Duration
}

func newBudget(now time.Time) *budget { return &budget{now, costBurst} }

func (b *budget) refill(now time.Time) {
	b.left = min(costBurst, b.left+time.Duration(float64(now.Sub(b.at))*costShare))
	b.at = now
}

func (b *budget) spend(cost time.Duration) { b.left -= cost }

// wait is how long it takes until there is something to spend.
func (b *budget) wait(now time.Time) time.Duration {
	b.refill(now)
	if b.left >= 0 {
		return 0
	}
	return time.Duration(float64(-b.left) / costShare)
}

// stepsShown is how many steps charts have: ten minutes.
const stepsShown = int(10 * time.Minute / series.Every)
