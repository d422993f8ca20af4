package verify

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// The part of JUnit's XML that build servers read.
type (
	junitSuite struct {
		XMLName  xml.Name    `xml:"testsuite"`
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Time     string      `xml:"time,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		Time    string        `xml:"time,attr"`
		Failure *junitMessage `xml:"failure,omitempty"`
		Skipped *junitMessage `xml:"skipped,omitempty"`
		Out     string        `xml:"system-out,omitempty"`
	}
	junitMessage struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// JUnit writes the report as JUnit's XML: a group of checks is a class. A warning is a passed test with an output.
func (r *Report) JUnit(out io.Writer) error {
	suite := junitSuite{
		Name: "agenthost verify: " + r.Title(), Tests: len(r.Checks), Failures: r.Count(Failed), Skipped: r.Count(Skipped), Time: seconds(r.Seconds),
	}
	for _, check := range r.Checks {
		group, name, _ := strings.Cut(check.Name, "/")
		made := junitCase{Class: group, Name: name, Time: seconds(check.Seconds)}
		switch check.Status {
		case Failed:
			made.Failure = &junitMessage{Message: check.Detail, Text: fmt.Sprintf("why: %s\nwhat to do: %s", check.Reason, check.Advice)}
		case Skipped:
			made.Skipped = &junitMessage{Message: check.Detail}
		case Warned:
			made.Out = fmt.Sprintf("warning: %s\nwhat to do: %s", check.Detail, check.Advice)
		default:
			made.Out = check.Detail
		}
		suite.Cases = append(suite.Cases, made)
	}
	if _, err := io.WriteString(out, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(out)
	encoder.Indent("", "  ")
	if err := encoder.Encode(suite); err != nil {
		return err
	}
	_, err := io.WriteString(out, "\n")
	return err
}

func seconds(s float64) string { return fmt.Sprintf("%.3f", s) }
