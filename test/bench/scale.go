package main

import "time"

// scale is how much is measured.
type scale struct {
	name   string
	rounds int
	// length of a round of calls, and rateLength of one at a fixed rate.
	length, rateLength time.Duration
	// idle is how many further plugins tell what one takes, and settle how long a host is left alone before its memory is looked at.
	idle   int
	settle time.Duration
	// remembered is after how many jobs a host's memory is looked at.
	remembered int
	// fleet is how many plugins are started and reloaded at once.
	fleet int
	// jobs are how many one host with jobPlugins plugins polls: few, ten times as many, and so on. polls tell what one takes.
	jobs              []int
	jobPlugins, polls int
	// starts of each plugin.
	starts int
	growth growth
}

// growth is what is measured of each.
type growth struct {
	plugins, messages, callers []int
	length                     time.Duration
	// rounds of all of it, but for jobs: what counts are medians.
	rounds int
}

const kib, mib = 1 << 10, 1 << 20

var scales = map[string]scale{
	"full": {
		name: "full", rounds: 9, length: time.Second, rateLength: 5 * time.Second,
		idle: 20, settle: 3 * time.Second, remembered: 100_000, fleet: 300,
		jobs: []int{1_000, 10_000, 100_000, 1_000_000}, jobPlugins: 200, polls: 200_000, starts: 5,
		growth: growth{
			plugins:  []int{1, 10, 100, 300},
			messages: []int{kib, 16 * kib, 256 * kib, mib, 4 * mib, 16 * mib}, callers: []int{1, 10, 100, 1_000, 10_000},
			length: 5 * time.Second, rounds: 3,
		},
	},
	"quick": {
		name: "quick", rounds: 3, length: 250 * time.Millisecond, rateLength: time.Second,
		idle: 10, settle: time.Second, remembered: 20_000, fleet: 30,
		jobs: []int{1_000, 10_000, 20_000}, jobPlugins: 20, polls: 20_000, starts: 1,
		growth: growth{
			plugins:  []int{1, 10, 30},
			messages: []int{kib, 16 * kib, 256 * kib, mib}, callers: []int{1, 10, 100, 1_000},
			length: time.Second, rounds: 1,
		},
	},
	"smoke": {
		name: "smoke", rounds: 1, length: 50 * time.Millisecond, rateLength: 100 * time.Millisecond,
		idle: 2, settle: 10 * time.Millisecond, remembered: 200, fleet: 3,
		jobs: []int{100, 200}, jobPlugins: 2, polls: 2_000, starts: 1,
		growth: growth{
			plugins: []int{1, 2}, messages: []int{kib, 16 * kib}, callers: []int{1, 8},
			length: 50 * time.Millisecond, rounds: 2,
		},
	},
}
