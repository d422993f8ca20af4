package fleet

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

const mib = 1 << 20

func TestWhoIsRestartedForItsMemory(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	limited := func(plugin string, used, limit uint64) appetite {
		return appetite{plugin: plugin, used: used * mib, limit: limit * mib, watched: true, fresh: 20 * mib}
	}
	unlimited := func(plugin string, used uint64) appetite {
		return appetite{plugin: plugin, used: used * mib, fresh: 20 * mib}
	}
	in := func(a appetite, p phase) appetite { a.phase = p; return a }
	wide := room{free: 4096 * mib}
	container := func(used uint64) room { // of 2 GiB; the reserve is 102.4 MiB
		return room{limit: 2048 * mib, used: used * mib, free: (2048 - min(2048, used+103)) * mib, host: 48 * mib}
	}
	for name, c := range map[string]struct {
		room     room
		all      []appetite
		want     string // such as "0 replace, 2 cut"
		why      string // what the first says
		helpless bool
	}{
		"who has room takes it": {room: wide, all: []appetite{limited("a", 511, 512), unlimited("b", 4000)}},
		"at its limit the successor comes first": {
			room: wide, all: []appetite{limited("a", 100, 512), limited("b", 600, 512)},
			want: "1 replace", why: "it used 600MiB of 512MiB (sandbox.memory)",
		},
		"a cgroup holds its limit": {room: wide, all: []appetite{{plugin: "a", used: 600 * mib, limit: 512 * mib, fresh: 20 * mib}}},
		"no room for two":          {room: room{free: 24 * mib}, all: []appetite{limited("a", 512, 512)}, want: "0 yield"},
		"just room for two":        {room: room{free: 25 * mib}, all: []appetite{limited("a", 512, 512)}, want: "0 replace"},
		"nobody knows what two need": {
			room: wide, all: []appetite{{plugin: "a", used: 600 * mib, limit: 512 * mib, watched: true}}, want: "0 yield",
		},
		"restarted a moment ago": {
			room: wide, all: []appetite{{plugin: "a", used: 600 * mib, limit: 512 * mib, watched: true, fresh: mib, calm: now.Add(1)}}, want: "0 yield",
		},
		"restarted long enough ago": {
			room: wide, all: []appetite{{plugin: "a", used: 600 * mib, limit: 512 * mib, watched: true, fresh: mib, calm: now}}, want: "0 replace",
		},
		"each at its own limit":                  {room: wide, all: []appetite{limited("a", 600, 512), limited("b", 600, 512)}, want: "0 replace, 1 replace"},
		"its successor is on its way":            {room: wide, all: []appetite{in(limited("a", 700, 512), replacing)}},
		"it grows on while its successor starts": {room: wide, all: []appetite{in(limited("a", 768, 512), replacing)}, want: "0 yield"},
		"it grows on while its calls end":        {room: wide, all: []appetite{in(limited("a", 768, 512), leaving)}, want: "0 cut"},

		"the container has room": {room: container(1945), all: []appetite{unlimited("a", 1800), unlimited("b", 90)}},
		"the container is nearly full": {
			room: container(1946), all: []appetite{unlimited("a", 90), unlimited("b", 1800)},
			want: "1 yield", why: "the container uses 1.9GiB of 2GiB, and it 1.758GiB, where its share is 944.8MiB",
		},
		"a small container keeps 64 MiB": {
			room: room{limit: 512 * mib, used: 448 * mib}, all: []appetite{unlimited("a", 400)}, want: "0 yield",
		},
		"the greediest is whoever is furthest beyond its share": {
			room: container(2000), all: []appetite{limited("a", 1000, 1200), unlimited("b", 850), unlimited("c", 100)}, want: "1 yield",
		},
		"a limit below the container's goes first": {
			room: container(2000), all: []appetite{limited("a", 600, 512), unlimited("b", 1300)}, want: "0 yield", why: "it used 600MiB of 512MiB",
		},
		"limits that are too many are worth less": {
			room: container(1990), all: []appetite{limited("a", 1400, 1500), limited("b", 500, 1500)}, want: "0 yield", why: "the container uses",
		},
		"the greediest goes, too, where others than plugins fill it": {
			room: container(2000), all: []appetite{limited("a", 500, 600), limited("b", 400, 600)}, want: "0 yield",
		},
		"a restart would give nothing back": {
			room: container(2000), all: []appetite{{plugin: "a", used: 1900 * mib, fresh: 1890 * mib}}, helpless: true,
		},
		"somebody leaves already":                 {room: container(1960), all: []appetite{in(unlimited("a", 1000), leaving), unlimited("b", 900)}},
		"there is no time for whoever leaves":     {room: container(2000), all: []appetite{in(unlimited("a", 100), leaving), in(unlimited("b", 900), leaving)}, want: "1 cut"},
		"there is no time for a successor either": {room: container(2000), all: []appetite{in(limited("a", 600, 512), replacing)}, want: "0 yield"},
		"there are no plugins":                    {room: container(2040), helpless: true},
		"the host alone fills it":                 {room: room{limit: 512 * mib, used: 500 * mib, host: 600 * mib}, all: []appetite{unlimited("a", 30)}, helpless: true},
	} {
		t.Run(name, func(t *testing.T) {
			orders, helpless := judge(now, c.room, c.all)
			var got []string
			for _, o := range orders {
				got = append(got, fmt.Sprint(o.of, " ", []string{"none", "replace", "yield", "cut"}[o.remedy]))
			}
			if text := strings.Join(got, ", "); text != c.want || helpless != c.helpless {
				t.Errorf("it is %q, helpless: %v; want %q, %v", text, helpless, c.want, c.helpless)
			}
			if len(orders) > 0 && !strings.HasPrefix(orders[0].why, c.why) {
				t.Errorf("it says %q; want %q", orders[0].why, c.why)
			}
		})
	}
}

func TestTheMemoryIsLookedAtTheMoreOftenTheLessThereIs(t *testing.T) {
	far := []appetite{{used: 200 * mib, limit: 512 * mib, watched: true}, {used: 500 * mib, limit: 512 * mib}}
	half := slices.Concat(far, []appetite{{used: 256 * mib, limit: 512 * mib, watched: true}})
	for _, c := range []struct {
		room room
		all  []appetite
		took time.Duration
		want time.Duration
	}{
		{room{}, nil, 0, 250 * time.Millisecond},
		{room{}, far, 0, 250 * time.Millisecond},
		{room{}, half, 0, 100 * time.Millisecond},
		{room{limit: 1000, used: 749}, far, 0, 100 * time.Millisecond},
		{room{limit: 1000, used: 750}, far, 0, 50 * time.Millisecond},
		{room{limit: 1000, used: 750}, far, 20 * time.Millisecond, 200 * time.Millisecond},
	} {
		if got := pause(c.room, c.all, c.took); got != c.want {
			t.Errorf("%+v, %+v, looked at for %v: %v; want %v", c.room, c.all, c.took, got, c.want)
		}
	}
}
