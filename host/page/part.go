package page

import (
	"bytes"
	"html/template"
	"reflect"
)

// part is a piece of a page that changes as a whole: an element with an id, made by a template of data.
type part struct {
	id, template string
	data         any
	// rows are the parts within it that change by themselves, in their order, where it is a list.
	list bool
	rows []part
}

// made is a part that was made.
type made struct {
	part
	html string // empty for a list of which only rows have changed
	seq  uint64 // when it last changed
	rows []*made
}

// change is an element that others have the place of.
type change struct{ id, html string }

// whole is what a template of a part with rows is given.
type whole struct {
	Data any
	Rows template.HTML
}

// make makes a part anew where it, or a row of it, is not as it was before.
func (p *Page) make(fresh part, before *made, seq uint64) (*made, error) {
	if before == nil || before.template != fresh.template {
		before = &made{}
	}
	known := map[string]*made{}
	for _, row := range before.rows {
		known[row.id] = row
	}
	m := &made{part: fresh, seq: before.seq, html: before.html}
	same := before.seq > 0 && len(fresh.rows) == len(before.rows) && reflect.DeepEqual(fresh.data, before.data)
	rows := false
	for i, row := range fresh.rows {
		one, err := p.make(row, known[row.id], seq)
		if err != nil {
			return nil, err
		}
		same = same && before.rows[i].id == one.id
		rows = rows || one.seq == seq
		m.rows = append(m.rows, one)
	}
	m.part.rows = nil
	if same {
		if rows {
			m.html = "" // made again once it is asked for as a whole
		}
		return m, nil
	}
	m.seq = seq
	return m, m.render(p)
}

// render makes the part of its data and its rows.
func (m *made) render(p *Page) error {
	var text, all bytes.Buffer
	data := m.data
	if m.list {
		for _, row := range m.rows {
			all.WriteString(row.html)
		}
		data = whole{m.data, template.HTML(all.String())} //nolint:gosec // made by our templates
	}
	if err := p.templates.ExecuteTemplate(&text, m.template, data); err != nil {
		return err
	}
	m.html = text.String()
	return nil
}

// since are the changes of a part after seq.
func (m *made) since(seq uint64) []change {
	if m.seq > seq {
		return []change{{m.id, m.html}}
	}
	var all []change
	for _, row := range m.rows {
		all = append(all, row.since(seq)...)
	}
	return all
}
