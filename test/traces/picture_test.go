package traces

import (
	"flag"
	"fmt"
	"html"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/test/hosttest"
)

var update = flag.Bool("update", false, "draw docs/trace.svg of the trace that was read back")

const (
	rowHeight, labelWidth, barsWidth, head = 22, 470, 420, 34
	indent                                 = 14
)

// colours are those of the services: of callers, of the host, of plugins.
var colours = map[string]string{"flytepropeller": "#7652a2", "agenthost": "#1f6f8b"}

// picture draws a trace as a waterfall: a row for each span below the one that it was made in, events as points on it.
func picture(t *testing.T, spans []span) {
	t.Helper()
	if !*update {
		return
	}
	below := map[string][]span{}
	known := map[string]bool{}
	for _, s := range spans {
		known[s.id] = true
	}
	begin, end := spans[0].start, spans[0].end
	for _, s := range spans {
		parent := s.parent
		if !known[parent] {
			parent = ""
		}
		below[parent] = append(below[parent], s)
		if s.start.Before(begin) {
			begin = s.start
		}
		if s.end.After(end) {
			end = s.end
		}
	}
	var rows strings.Builder
	y := head
	at := func(when time.Time) float64 {
		return labelWidth + barsWidth*float64(when.Sub(begin))/float64(end.Sub(begin))
	}
	var draw func(parent string, depth int)
	draw = func(parent string, depth int) {
		slices.SortFunc(below[parent], func(a, b span) int { return a.start.Compare(b.start) })
		for _, s := range below[parent] {
			colour := colours[s.service]
			if colour == "" {
				colour = "#3d7a3d"
			}
			name := s.name[strings.LastIndex(s.name, "/")+1:]
			fmt.Fprintf(&rows, `<text x="%d" y="%d" fill="%s">%s</text><text x="%d" y="%d">%s</text>`+"\n", 8+depth*indent, y+15, colour, html.EscapeString(s.service), 118+depth*indent, y+15, html.EscapeString(name))
			fmt.Fprintf(&rows, `<rect x="%.1f" y="%d" width="%.1f" height="12" fill="%s"/>`+"\n", at(s.start), y+4, max(2, at(s.end)-at(s.start)), colour)
			fmt.Fprintf(&rows, `<text x="%d" y="%d" text-anchor="end" fill="#555">%s</text>`+"\n", labelWidth-8, y+15, s.end.Sub(s.start).Round(10*time.Microsecond))
			for _, event := range s.events {
				if strings.HasPrefix(event, "guarantee ") {
					fmt.Fprintf(&rows, `<text x="%.1f" y="%d" fill="#b3261e" font-weight="bold">%s</text>`+"\n", min(at(s.end)+4, labelWidth+barsWidth-24), y+15, html.EscapeString(strings.TrimPrefix(event, "guarantee ")))
				}
			}
			y += rowHeight
			draw(s.id, depth+1)
		}
	}
	draw("", 0)
	width := labelWidth + barsWidth + 20
	drawn := fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12" role="img">
<title>A trace from Flyte through the host into a plugin that is killed between two polls</title>
<rect width="%d" height="%d" fill="#fff"/>
<text x="8" y="20" font-weight="bold">one task: created, polled, its plugin killed, polled, deleted; %s in all</text>
%s</svg>
`, width, y+8, width, y+8, end.Sub(begin).Round(time.Millisecond), rows.String())
	if err := os.WriteFile(hosttest.Root("docs", "trace.svg"), []byte(drawn), 0o600); err != nil {
		t.Fatal(err)
	}
}
