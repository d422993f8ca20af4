package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/agenthost/agenthost/test/bench/contender"
	"github.com/agenthost/agenthost/test/bench/load"
	"github.com/agenthost/agenthost/test/bench/report"
)

// loadName is a method and how many call it at once; or, where perSecond is set, how many calls are made a second.
type loadName struct {
	method    string
	callers   int
	perSecond int
}

func (n loadName) String() string {
	if n.perSecond > 0 {
		return fmt.Sprintf("%s-%d-per-s", n.method, n.perSecond)
	}
	return fmt.Sprintf("%s-%d", n.method, n.callers)
}

// compared is what each contender did in each round.
type compared map[string]*rounds

// rounds are those of one contender.
type rounds struct {
	rates, p50, p99, p999 []float64 // the latter in milliseconds
	calls                 float64
	spent                 contender.Spent
}

// perCall is the processor time of a call in microseconds.
func (r *rounds) perCall() report.CPU {
	micros := func(seconds float64) float64 { return seconds / r.calls * 1e6 }
	return report.CPU{Client: micros(r.spent.Client), Host: micros(r.spent.Host), Plugin: micros(r.spent.Plugin)}
}

// compare has all contenders that are planned for a load make its calls, in rounds that alternate.
func (l *lab) compare(ctx context.Context, name loadName) (compared, error) {
	if known := l.comparisons[name]; known != nil {
		return known, nil
	}
	names := slices.DeleteFunc(slices.Clone(order), func(one string) bool { return !slices.Contains(l.planned[name], one) })
	what := methods[name.method]
	calls := map[string]load.Call{}
	for _, one := range names {
		running, err := l.contender(ctx, one)
		if err != nil {
			return nil, err
		}
		if calls[one], err = what.prepare(ctx, running.Conn); err != nil {
			return nil, fmt.Errorf("%s, %s: %w", what.call, one, err)
		}
	}
	l.say("%s: %s", name, strings.Join(names, ", "))
	result := compared{}
	for round := range l.rounds + 1 { // the first warms up
		for _, one := range names {
			if result[one] == nil {
				result[one] = &rounds{}
			}
			if err := l.round(ctx, name, l.contenders[one], calls[one], result[one], round > 0); err != nil {
				return nil, fmt.Errorf("%s, %s: %w", name, one, err)
			}
		}
	}
	l.comparisons[name] = result
	told := result.report(name, names, l.rounds)
	l.result.Comparisons = append(l.result.Comparisons, told)
	for _, line := range told.Lines() {
		l.tell(line)
	}
	return result, nil
}

// round measures one, and keeps what it measured if it counts.
func (l *lab) round(ctx context.Context, name loadName, of *contender.Contender, call load.Call, keep *rounds, counts bool) error {
	before, err := of.Spent()
	if err != nil {
		return err
	}
	var round load.Round
	if name.perSecond > 0 {
		round, err = load.Open(ctx, call, name.perSecond, l.rateLength)
	} else {
		round, err = load.Closed(ctx, call, name.callers, l.length)
	}
	if err != nil {
		return err
	}
	after, err := of.Spent()
	if err != nil || !counts {
		return err
	}
	millis := func(percentile float64) float64 { return round.Latency(percentile).Seconds() * 1e3 }
	keep.rates = append(keep.rates, round.PerSecond())
	keep.p50, keep.p99, keep.p999 = append(keep.p50, millis(50)), append(keep.p99, millis(99)), append(keep.p999, millis(99.9))
	keep.calls += float64(round.Calls)
	keep.spent = keep.spent.Plus(after.Minus(before))
	return nil
}

func (c compared) report(name loadName, names []string, rounds int) report.Comparison {
	told := report.Comparison{
		Name: name.String(), Call: methods[name.method].call, Callers: name.callers, PerSecond: name.perSecond, Rounds: rounds,
	}
	for _, one := range names {
		r := c[one]
		told.Contenders = append(told.Contenders, report.Contender{
			Name: one, CallsPerSecond: report.SpreadOf(r.rates),
			P50: report.SpreadOf(r.p50), P99: report.SpreadOf(r.p99), P999: report.SpreadOf(r.p999), CPU: r.perCall(),
		})
	}
	return told
}

// figure is what a row measured.
type figure struct {
	report.Spread
	detail             map[string]float64
	comparison, of, to string
	series             string
}

// measure is how a row is measured.
type measure interface {
	// plan says which contenders of which load it compares, before anything is measured.
	plan(*lab)
	measure(context.Context, *lab) (figure, error)
}

// by measures alone.
type by func(context.Context, *lab) (figure, error)

func (by) plan(*lab) {}

func (b by) measure(ctx context.Context, l *lab) (figure, error) { return b(ctx, l) }

// ratio is that of the calls per second of two contenders: of the medians, because machines are noisy.
type ratio struct {
	load   loadName
	of, to string
}

func (r ratio) plan(l *lab) { l.planned[r.load] = append(l.planned[r.load], r.of, r.to) }

func (r ratio) measure(ctx context.Context, l *lab) (figure, error) {
	found, err := l.compare(ctx, r.load)
	if err != nil {
		return figure{}, err
	}
	of, to := found[r.of], found[r.to]
	each := make([]float64, len(of.rates))
	for i := range each {
		each[i] = of.rates[i] / to.rates[i]
	}
	ofRounds := report.Median(each)
	return figure{Spread: around(report.Median(of.rates)/report.Median(to.rates), each), comparison: r.load.String(), of: r.of, to: r.to, detail: map[string]float64{
		"median of the rounds' ratios": ofRounds,
		"by processor time":            to.perCall().All() / of.perCall().All(),
	}}, nil
}

// added is how much longer a call of one contender takes than of another, in milliseconds, at a rate that both sustain.
type added struct {
	load       loadName
	of, to     string
	percentile func(*rounds) []float64
}

func (a added) plan(l *lab) { l.planned[a.load] = append(l.planned[a.load], a.of, a.to) }

func (a added) measure(ctx context.Context, l *lab) (figure, error) {
	found, err := l.compare(ctx, a.load)
	if err != nil {
		return figure{}, err
	}
	of, to := a.percentile(found[a.of]), a.percentile(found[a.to])
	each := make([]float64, len(of))
	for i := range each {
		each[i] = of[i] - to[i]
	}
	return figure{Spread: around(report.Median(of)-report.Median(to), each), comparison: a.load.String(), of: a.of, to: a.to}, nil
}

// around is the spread of rounds around a value made of their medians, which may lie outside of what any of them had.
func around(value float64, rounds []float64) report.Spread {
	spread := report.SpreadOf(append(rounds, value))
	spread.Median = value
	return spread
}
