package page

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strconv"

	"github.com/agenthost/agenthost/host/fleet"
)

// chart is a line over the last minutes, as text that people read and as the path of an SVG.
type chart struct {
	// Line and Area are of the figures, Second is a line of others on the same scale, such as errors; empty: none.
	Line, Area, Second string
	Label              string
	Width, Height      int
}

const (
	sparkWidth, sparkHeight = 96, 22
	wideWidth, wideHeight   = 320, 72
	// sparkPoints is how many points a small chart has.
	sparkPoints = 40
)

// spark is a small chart.
func spark(what string, figures, second []float64, words func(float64) string) chart {
	c := draw(what, thin(figures), thin(second), sparkPoints, sparkWidth, sparkHeight, words)
	c.say(what, figures, words)
	return c
}

// wide is a large one.
func wide(what string, figures, second []float64, words func(float64) string) chart {
	return draw(what, figures, second, stepsShown, wideWidth, wideHeight, words)
}

// thin makes sparkPoints of stepsShown figures: the highest of each few, so that no peak is lost.
func thin(figures []float64) []float64 {
	const few = stepsShown / sparkPoints
	var thinned []float64
	for end := len(figures); end > 0; end -= few {
		thinned = append(thinned, slices.Max(figures[max(0, end-few):end]))
	}
	slices.Reverse(thinned)
	return thinned
}

func draw(what string, figures, second []float64, slots, width, height int, words func(float64) string) chart {
	c := chart{Width: width, Height: height, Label: what + ": nothing is known yet"}
	if len(figures) == 0 {
		return c
	}
	top := max(slices.Max(figures), 1e-9)
	if len(second) > 0 {
		top = max(top, slices.Max(second))
	}
	c.say(what, figures, words)
	width, height = tenths*width, tenths*height
	far := float64(width) / float64(slots-1)
	from := float64(width) - float64(len(figures)-1)*far // what has fewer figures than there is room for begins later
	c.Line = path(figures, top, from, far, height)
	c.Area = c.Line + fmt.Sprintf("V%dH%dZ", height, int(math.Round(from)))
	if len(second) > 0 && slices.Max(second) > 0 {
		c.Second = path(second, top, from, far, height)
	}
	return c
}

// say makes the label of the figures.
func (c *chart) say(what string, figures []float64, words func(float64) string) {
	if len(figures) > 0 {
		c.Label = fmt.Sprintf("%s: now %s, at most %s in 10 minutes", what, words(figures[len(figures)-1]), words(slices.Max(figures)))
	}
}

// path has no points within level stretches.
func path(figures []float64, top, x, far float64, height int) string {
	y := func(i int) int { return tenths + int(math.Round(float64(height-2*tenths)*(1-figures[i]/top))) }
	text := make([]byte, 0, 9*len(figures))
	for i := range figures {
		if i == 0 || i == len(figures)-1 || y(i-1) != y(i) || y(i+1) != y(i) {
			letter := byte('L')
			if i == 0 {
				letter = 'M'
			}
			text = strconv.AppendInt(append(text, letter), int64(math.Round(x)), 10)
			text = strconv.AppendInt(append(text, ' '), int64(y(i)), 10)
		}
		x += far
	}
	return string(text)
}

// tenths is how many units of a path a pixel has: whole numbers are shorter than fractions.
const tenths = 10

// shapes are the states that have a shape of their own.
var shapes = map[string]bool{}

func init() {
	for _, state := range fleet.States {
		shapes[slug(string(state))] = true
	}
}

// shape is that of a state, by which it can be told without its colour.
func shape(state string) string {
	if name := slug(state); shapes[name] {
		return name
	}
	return "other"
}

// markX and markY are where a mark of the timeline is: kinds that would hide each other have lines of their own.
func markX(place int) int { return place * (1200 - 10) / (marksIn - 1) }

func markY(kind string) int {
	switch kind {
	case "crash", "failure":
		return 2
	case "swap", "canary", "rollback":
		return 11
	}
	return 20
}

// functions are what templates call.
var functions = template.FuncMap{
	"ago": ago, "iso": iso, "clock": clock, "slug": slug, "path": pluginPath, "asset": func(name string) string { return "/ui/assets/" + name + "?v=" + assetVersion },
	"bytes": inBytes, "rate": inRate, "seconds": inSeconds, "count": count, "short": short, "shape": shape, "markX": markX, "markY": markY, "sentence": sentence,
}
