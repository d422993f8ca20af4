package main

import (
	"bytes"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"

	"github.com/agenthost/agenthost/test/bench/report"
)

// drawing is a plot in a file.
type drawing struct {
	file, title string
	svg         []byte
}

// plots draws throughput and latency by contender and callers, and how the host grows.
func plots(r report.Result) ([]drawing, error) {
	var drawn []drawing
	for _, one := range []struct {
		file, title, y string
		of             func(report.Contender) float64
	}{
		{"throughput.svg", "GetTask: calls a second", "calls/s", func(c report.Contender) float64 { return c.CallsPerSecond.Median }},
		{"latency-p50.svg", "GetTask: p50", "ms", func(c report.Contender) float64 { return c.P50.Median }},
		{"latency-p99.svg", "GetTask: p99", "ms", func(c report.Contender) float64 { return c.P99.Median }},
	} {
		lines := byCallers(r, "GetTask", one.of)
		if len(lines) == 0 {
			continue
		}
		drawing, err := draw(one.file, one.title, "callers", one.y, lines)
		if err != nil {
			return nil, err
		}
		drawn = append(drawn, drawing)
	}
	for _, series := range r.Series {
		title := fmt.Sprintf("%s, exponent at most %s", series.Name, report.Number(series.Exponent))
		drawing, err := draw("growth-"+series.Name+".svg", title, series.X, series.Y, []line{{points: series.Points}})
		if err != nil {
			return nil, err
		}
		drawn = append(drawn, drawing)
	}
	return drawn, nil
}

// line is one of a plot.
type line struct {
	name   string
	points []report.Point
}

// byCallers are the contenders that were measured with several numbers of callers.
func byCallers(r report.Result, call string, of func(report.Contender) float64) []line {
	var lines []line
	for _, comparison := range r.Comparisons {
		if comparison.Call != call || comparison.Callers == 0 {
			continue
		}
		for _, one := range comparison.Contenders {
			i := slices.IndexFunc(lines, func(l line) bool { return l.name == one.Name })
			if i < 0 {
				i, lines = len(lines), append(lines, line{name: one.Name})
			}
			lines[i].points = append(lines[i].points, report.Point{X: float64(comparison.Callers), Y: of(one)})
		}
	}
	lines = slices.DeleteFunc(lines, func(l line) bool { return len(l.points) < 2 })
	for _, one := range lines {
		slices.SortFunc(one.points, func(a, b report.Point) int { return int(a.X - b.X) })
	}
	return lines
}

// draw draws lines on logarithmic axes, on which what grows linearly rises by 45 degrees of equal decades.
func draw(file, title, x, y string, lines []line) (drawing, error) {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.LogTicks{Prec: -1}, plot.LogTicks{Prec: -1}
	p.Legend.Top, p.Legend.Left = true, true
	p.Add(plotter.NewGrid())
	for i, one := range lines {
		points := make(plotter.XYs, len(one.points))
		for j, point := range one.points {
			points[j] = plotter.XY{X: point.X, Y: atLeast(point.Y)}
		}
		drawnLine, marks, err := plotter.NewLinePoints(points)
		if err != nil {
			return drawing{}, fmt.Errorf("%s: %w", file, err)
		}
		drawnLine.Color, marks.Color, marks.Shape = plotutil.Color(i), plotutil.Color(i), plotutil.Shape(i)
		p.Add(drawnLine, marks)
		if one.name != "" {
			p.Legend.Add(one.name, drawnLine, marks)
		}
	}
	// Where all points are as high, gonum would have the axis begin at zero, which has no logarithm.
	low, high := math.Inf(1), math.Inf(-1)
	for _, one := range lines {
		for _, point := range one.points {
			low, high = min(low, atLeast(point.Y)), max(high, atLeast(point.Y))
		}
	}
	p.Y.Min, p.Y.Max = low/1.5, high*1.5
	writer, err := p.WriterTo(18*vg.Centimeter, 11*vg.Centimeter, "svg")
	if err != nil {
		return drawing{}, fmt.Errorf("%s: %w", file, err)
	}
	var svg bytes.Buffer
	if _, err := writer.WriteTo(&svg); err != nil {
		return drawing{}, fmt.Errorf("%s: %w", file, err)
	}
	return drawing{file: file, title: title, svg: svg.Bytes()}, nil
}

// atLeast is what is drawn of a quantity that was too little to be measured.
func atLeast(y float64) float64 { return max(y, 1e-3) }
