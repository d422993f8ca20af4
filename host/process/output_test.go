package process_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agenthost/agenthost/host/process"
)

const aHandshake = "1|1|unix|/run/x|grpc|"

// logged is what go-plugin would read on Stderr() of a process that ends by itself.
func logged(t *testing.T, p *process.Process) []map[string]any {
	t.Helper()
	var lines []map[string]any
	scanner := bufio.NewScanner(p.Stderr()) // 64 KiB, as go-plugin's
	for scanner.Scan() {
		var fields map[string]any
		if err := json.Unmarshal(scanner.Bytes(), &fields); err != nil {
			t.Errorf("not JSON: %.200q", scanner.Bytes())
		}
		lines = append(lines, fields)
	}
	if err := scanner.Err(); err != nil {
		t.Error(err)
	}
	awaitEnd(t, p)
	return lines
}

func read(t *testing.T, from io.Reader) string {
	t.Helper()
	all, err := io.ReadAll(from)
	if err != nil {
		t.Fatal(err)
	}
	return string(all)
}

func TestAWatcherSeesEveryLineAsItWasPrinted(t *testing.T) {
	seen := map[process.Stream][]string{}
	p := process.New(process.Config{
		Name: "script", Command: []string{"/bin/sh", "-c", `echo before; echo '` + aHandshake + `'; echo '{"@message":5}' >&2`},
		Watch: func(from process.Stream, line []byte, _ int) { seen[from] = append(seen[from], string(line)) },
	})
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, p)
	want := map[process.Stream][]string{process.Stdout: {"before", aHandshake}, process.Stderr: {`{"@message":5}`}}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Error(diff)
	}
}

func TestStdoutYieldsTheHandshakeAndNothingElse(t *testing.T) {
	p := shell(t, `echo "Picked up JAVA_TOOL_OPTIONS: -Xmx1g"; echo; echo '`+aHandshake+`'; echo after; echo '1|1|unix|/other|grpc|'; printf 'no newline'`)
	if got := read(t, p.Stdout()); got != aHandshake+"\n" {
		t.Errorf("go-plugin reads %q", got)
	}
	if p.Handshake() != aHandshake {
		t.Errorf("the handshake is %q", p.Handshake())
	}
	var got []string
	for _, line := range logged(t, p) {
		got = append(got, fmt.Sprintf("%v %v (%v)", line["@level"], line["@message"], line["stream"]))
	}
	want := []string{
		"warn printed before its handshake: Picked up JAVA_TOOL_OPTIONS: -Xmx1g (stdout)",
		"debug after (stdout)",
		"debug 1|1|unix|/other|grpc| (stdout)",
		"debug no newline (stdout)",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("logged:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestAHandshakeIsGivenUpAfterTooMuchElse(t *testing.T) {
	for script, want := range map[string]string{
		`i=0; while [ $i -lt 300 ]; do echo "noise $i"; i=$((i+1)); done; echo '` + aHandshake + `'`: "printed 201 lines",
		`head -c 1000000 /dev/zero; echo; echo '` + aHandshake + `'`:                                 "printed 1 lines (1000000 bytes)",
		`printf '1|1|unix|'; head -c 1000000 /dev/zero | tr '\0' a; echo '|grpc|'`:                   "handshake line is 1000015 bytes long",
	} {
		p := shell(t, script)
		if got := read(t, p.Stdout()); got != "" {
			t.Errorf("go-plugin reads %.100q", got)
		}
		awaitEnd(t, p)
		if got := p.HandshakeProblem(); !strings.Contains(got, want) {
			t.Errorf("%.60s: the problem is %q, want %q", script, got, want)
		}
		if got := p.Diagnose(t.Context()); !strings.Contains(got, want) || !strings.Contains(got, "exited with code 0") {
			t.Errorf("the diagnosis is %q", got)
		}
	}
}

func TestAProcessIsNeverBlockedByWhoDoesNotRead(t *testing.T) {
	// Far more than a pipe holds, on both, with nobody reading.
	exit := awaitEnd(t, shell(t, `echo '`+aHandshake+`'; head -c 8000000 /dev/zero; head -c 8000000 /dev/zero >&2; yes | head -n 100000; yes | head -n 100000 >&2; exit 4`))
	if exit.Code != 4 {
		t.Errorf("it %v", exit)
	}
}

func TestAFloodIsThinnedAndCounted(t *testing.T) {
	p := shell(t, `echo '`+aHandshake+`'; yes "a line of output" | head -n 50000; yes "a line of errors" | head -n 50000 >&2; echo last >&2`)
	passed, dropped := 0, 0
	for _, line := range logged(t, p) {
		if n, ok := line["dropped_lines"].(float64); ok {
			dropped += int(n)
			if line["@level"] != "warn" || line["@message"] != fmt.Sprintf("left out %d lines (%d bytes) of its output: it prints more than can be logged", int(n), int(line["dropped_bytes"].(float64))) {
				t.Errorf("told as %v", line)
			}
			continue
		}
		passed++
	}
	if passed+dropped != 100_001 {
		t.Errorf("%d passed and %d dropped of 100001", passed, dropped)
	}
	if passed < 1000 || passed > 20_000 {
		t.Errorf("%d lines were kept", passed)
	}
	if last := p.LastOutput(); last[len(last)-1] != "last" {
		t.Errorf("the last output is %q", last)
	}
}

// What is taken for the handshake, among what else is printed. The script prints these words and waits.
func TestOnlyAWholeHandshakeIsOne(t *testing.T) {
	const whole = "1|1|unix|/run/x|grpc|QUJD"
	for printed, want := range map[string]string{
		`1|2|3|4\n` + whole + `\n`:                          whole,
		`a | b | c | d\n1|1|udp|x|grpc|\n` + whole + `\n`:   whole,
		`Loading...` + whole + `\n`:                         whole,
		`10%%\r100%%\r` + whole + `\r\n`:                    whole,
		`step 1` + whole + `|\n`:                            whole + "|",
		`{"progress": "1|1|unix"} ` + whole + `|true\n`:     whole + "|true",
		`  1|1|tcp|127.0.0.1:7|grpc  \n`:                    "1|1|tcp|127.0.0.1:7|grpc",
		`1|99|unix|/run/x|grpc|\n`:                          "1|99|unix|/run/x|grpc|", // of another version, and whole
		`2|1|unix|/run/y|grpc|\n` + whole + `\n`:            whole,
		`1|1|unix|/run/y\n1|1|unix|/run/z\n` + whole + `\n`: whole,
		// Nothing better follows: what is wrong with it is for whoever reads it to say.
		`1|2|3|4\n2|1|unix|/run/y|grpc|\n`:   "2|1|unix|/run/y|grpc|",
		`1|1|unix|/run/y\n1|1|unix|/run/z\n`: "1|1|unix|/run/y",
		`1|1|unix|/run/y|netrpc|\n`:          "1|1|unix|/run/y|netrpc|",
		`1|1|unix|/run/y|grpc|no base64!\n`:  "1|1|unix|/run/y|grpc|no base64!",
		whole + `|true|and|more\n`:           whole + "|true|and|more", // of a later go-plugin
	} {
		p := shell(t, `printf '`+printed+`'; exec sleep 1000`)
		line, err := bufio.NewReader(p.Stdout()).ReadString('\n')
		if err != nil || line != want+"\n" {
			t.Errorf("of %q it takes %q, want %q: %v", printed, line, want, err)
		}
	}
}

func TestAFaultyHandshakeIsKnownWhenStdoutEnds(t *testing.T) {
	p := shell(t, `echo '2|1|unix|/run/y|grpc|'; exec >&-; exec sleep 1000`)
	if got := read(t, p.Stdout()); got != "2|1|unix|/run/y|grpc|\n" {
		t.Errorf("it takes %q", got)
	}
}

func TestWhereNoHandshakeCameTheLineMostLikeOneIsNamed(t *testing.T) {
	p := shell(t, `echo hello; echo '1|2|3|4'; echo 'a|b|c|d'`)
	awaitEnd(t, p)
	if got := p.LikeHandshake(); got != "1|2|3|4" {
		t.Errorf("it is %q", got)
	}
}

func TestTheLastOutputIsShortAndNamesTheCause(t *testing.T) {
	p := shell(t, `
		echo 'panic: index out of range' >&2
		i=0; while [ $i -lt 100 ]; do echo "goroutine $i" >&2; i=$((i+1)); done
		echo '{"@level":"error","@message":"structured","secret":"not shown"}' >&2
		head -c 100000 /dev/zero | tr '\0' x >&2; echo >&2
		printf 'red \033[31m and \377 broken' >&2`)
	awaitEnd(t, p)
	last := p.LastOutput()
	total := 0
	for _, line := range last {
		total += len(line)
	}
	if total > 4096 {
		t.Errorf("it is %d bytes long", total)
	}
	if last[0] != "panic: index out of range" {
		t.Errorf("it begins with %q", last[0])
	}
	end := last[len(last)-3:]
	if end[0] != "structured" || !strings.HasPrefix(end[1], "xxxx") || !strings.HasSuffix(end[1], "…") || end[2] != `red \x1b[31m and \xff broken` {
		t.Errorf("it ends with %q", end)
	}
}

func TestWhatCameByAnotherWayIsTreatedTheSame(t *testing.T) {
	p := shell(t, `echo '`+aHandshake+`'; sleep 1000`)
	if line, err := bufio.NewReader(p.Stdout()).ReadString('\n'); err != nil || line != aHandshake+"\n" {
		t.Fatalf("%q, %v", line, err)
	}
	logs := bufio.NewScanner(p.Stderr())
	stdout, stderr := p.StdoutWriter(), p.StderrWriter()
	fmt.Fprint(stdout, "half a ")
	fmt.Fprintln(stderr, `{"level":"error","msg":"whole"}`)
	fmt.Fprintln(stdout, "line")
	for _, want := range []string{`{"@level":"error","@message":"whole"}`, `{"@level":"debug","@message":"half a line","stream":"stdout"}`} {
		if !logs.Scan() || logs.Text() != want {
			t.Errorf("got %s, want %s", logs.Text(), want)
		}
	}
	p.Kill(t.Context())
	if logs.Scan() {
		t.Errorf("after the end: %s", logs.Text())
	}
	fmt.Fprintln(stdout, "too late")
}

func TestAProcessThatDidNotStartHasNothingToRead(t *testing.T) {
	p := process.New(process.Config{Name: "none", Command: []string{"/no/such/program"}})
	if err := p.Start(t.Context()); err == nil {
		t.Fatal("it started")
	}
	if got := read(t, p.Stdout()) + read(t, p.Stderr()); got != "" {
		t.Errorf("read %q", got)
	}
	if p.ID() != "" {
		t.Errorf("its id is %q", p.ID())
	}
}
