package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// step is one command of the page, with what the page says it prints.
type step struct {
	line    int    // of the page
	root    bool   // its prompt is #, and not $
	command string // with all its lines
	prints  []string
}

func (s step) String() string { return fmt.Sprintf("%s:%d: %s", pageFile, s.line, s.command) }

// pageFile is the page that is followed.
const pageFile = "docs/deploying.md"

var heading = regexp.MustCompile(`^(#+) (.+)$`)

// sections are the steps of each section of the second level, those of its subsections with it, in the order of the page. Every block
// of the page that shows a console is in one: nothing there is only to be read.
func sections(page string) (map[string][]step, error) {
	found := map[string][]step{}
	var section, fence string
	lines := strings.Split(page, "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if opened, ok := strings.CutPrefix(line, "```"); ok {
			if fence == "" {
				fence = "``` " + opened
			} else {
				fence = ""
			}
			continue
		}
		switch fence {
		case "":
			if match := heading.FindStringSubmatch(line); match != nil && len(match[1]) == 2 {
				section = match[2]
			}
		case "``` console":
			s := step{line: i + 1}
			var ok bool
			if s.command, ok = strings.CutPrefix(line, "$ "); !ok {
				if s.command, ok = strings.CutPrefix(line, "# "); !ok {
					return nil, fmt.Errorf("%s:%d: a line of a console that no command comes before: %q", pageFile, i+1, line)
				}
				s.root = true
			}
			for unfinished(s.command) {
				if i++; i == len(lines) || strings.HasPrefix(lines[i], "```") {
					return nil, fmt.Errorf("%v: the command does not end", s)
				}
				s.command += "\n" + lines[i]
			}
			for i+1 < len(lines) && !strings.HasPrefix(lines[i+1], "```") && !strings.HasPrefix(lines[i+1], "$ ") && !strings.HasPrefix(lines[i+1], "# ") {
				i++
				s.prints = append(s.prints, lines[i])
			}
			found[section] = append(found[section], s)
		case "``` ":
			return nil, fmt.Errorf("%s:%d: a block that does not say what it is", pageFile, i)
		}
	}
	return found, nil
}

var hereDocument = regexp.MustCompile(`<<'?([A-Z]+)'?`)

// unfinished says that a command goes on in the next line: after a backslash, or in a document that is not at its end.
func unfinished(command string) bool {
	if match := hereDocument.FindStringSubmatch(command); match != nil {
		return !strings.HasSuffix(command, "\n"+match[1])
	}
	return strings.HasSuffix(command, `\`)
}

var spaces = regexp.MustCompile(` +`)

// printed says where an output is not what the page shows: … stands for anything within a line, and alone for any lines. Columns may be
// wider.
func printed(output string, shows []string) error {
	if len(shows) == 0 {
		return nil
	}
	var pattern strings.Builder
	pattern.WriteString(`\A`)
	for _, line := range shows {
		line = spaces.ReplaceAllString(line, " ")
		if line == "…" {
			pattern.WriteString(`(?:.*\n)*?`)
			continue
		}
		for i, part := range strings.Split(line, "…") {
			if i > 0 {
				pattern.WriteString(`.*`)
			}
			pattern.WriteString(regexp.QuoteMeta(part))
		}
		pattern.WriteString(`[ ]*\n`)
	}
	pattern.WriteString(`\z`)
	if regexp.MustCompile(pattern.String()).MatchString(spaces.ReplaceAllString(strings.TrimRight(output, "\n"), " ") + "\n") {
		return nil
	}
	return fmt.Errorf("the page shows\n%s\nand it prints\n%s", strings.Join(shows, "\n"), output)
}

// stepsOf reads the page, and gives the steps of one section.
func stepsOf(section string) ([]step, error) {
	page, err := os.ReadFile(pageFile)
	if err != nil {
		return nil, err
	}
	all, err := sections(string(page))
	if err != nil {
		return nil, err
	}
	if len(all[section]) == 0 {
		return nil, fmt.Errorf("%s has no commands in a section %q", pageFile, section)
	}
	return all[section], nil
}

// blockOf is the page's block of a kind that has a text in it.
func blockOf(kind, has string) (string, error) {
	page, err := os.ReadFile(pageFile)
	if err != nil {
		return "", err
	}
	for _, match := range regexp.MustCompile("(?ms)^```"+kind+"\n(.*?)^```$").FindAllStringSubmatch(string(page), -1) {
		if strings.Contains(match[1], has) {
			return match[1], nil
		}
	}
	return "", fmt.Errorf("%s has no block %s with %s", pageFile, kind, has)
}
