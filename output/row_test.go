package output

import (
	"slices"
	"strings"
	"testing"
)

type rows [][]string

func (r rows) WriteText(t *Text) {
	for _, cells := range r {
		var all []any
		for _, cell := range cells {
			all = append(all, cell)
		}
		t.Row(all...)
	}
}

// written returns what is written of records, each flushed on its own or together.
func written(t *testing.T, terminal, each bool, records ...Record) []string {
	t.Helper()
	var s stream
	p := NewPrinter(&s, false, terminal)
	for _, r := range records {
		do(t, p.Print(r))
		if each {
			do(t, p.Flush())
		}
	}
	do(t, p.Flush())
	return s.writes
}

// In a pipe a row is its cells with tabs between, always as many.
func TestRowPipe(t *testing.T) {
	got := written(t, false, false, rows{{"juliet@example.org", "", "both"}, {"a\tb", "c\nd", ""}}, note{Kind: "open"}, rows{{"x"}, {}})
	want := "juliet@example.org\t\tboth\n" + `a\u{9}b` + "\t" + `c\u{a}d` + "\t\nopen\nx\n\n"
	if !slices.Equal(got, []string{want}) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// On a terminal the rows of all records that follow each other are one table.
func TestRowTerminal(t *testing.T) {
	long := strings.Repeat("x", maxColumn+1)
	for _, c := range []struct {
		name    string
		records []Record
		want    string
	}{
		{"one table", []Record{rows{{"a", "b", "c"}}, rows{{"long", "x", "y"}, {"", "z"}}}, "a     b  c\nlong  x  y\n      z\n"},
		{"nothing behind the last", []Record{rows{{"a", "", ""}, {"bcd", "e", ""}}}, "a\nbcd  e\n"},
		{"an empty column", []Record{rows{{"a", "", "b"}, {"c", "", "d"}}}, "a  b\nc  d\n"},
		{"wide and combining", []Record{rows{{"日本", "1"}, {"e\u0301", "2"}, {"\u1112\u1161\u11ab", "3"}, {"한", "4"}, {"abc", "5"}}},
			"日本  1\ne\u0301     2\n\u1112\u1161\u11ab    3\n한    4\nabc   5\n"},
		{"escapes count as shown", []Record{rows{{"\x1b", "1"}, {"a", "2"}}}, `\u{1b}  1` + "\n" + `a       2` + "\n"},
		{"too wide", []Record{rows{{long, "1"}, {"a", "2"}, {"bc", "3"}}}, long + "  1\na   2\nbc  3\n"},
		{"text ends a table", []Record{rows{{"abc", "1"}, {"d", ""}}, note{Kind: "-"}, rows{{"a", "2"}}}, "abc  1\nd\n-\na  2\n"},
		{"a row ends an open line", []Record{head{"roster"}}, "roster\na   b\ncd  e\nend\n"},
	} {
		if got := written(t, true, false, c.records...); !slices.Equal(got, []string{c.want}) {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, strings.Join(got, "|"), c.want)
		}
	}
}

type head struct{ title string }

func (h head) WriteText(t *Text) {
	t.Printf("%s", h.title)
	t.Row("a", "b")
	t.Row("cd", "e")
	t.Block("", "end")
}

// Rows that come one by one keep the columns of those before.
func TestRowFlushed(t *testing.T) {
	got := written(t, true, true, rows{{"abc", "1"}}, rows{{"d", "2"}}, rows{{"efgh", "3"}}, rows{{"i", "4"}}, note{Kind: "-"}, rows{{"j", "5"}})
	want := []string{"abc  1\n", "d    2\n", "efgh  3\n", "i     4\n", "-\n", "j  5\n"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A table larger than the buffer is written in parts, with nothing lost.
func TestRowBounded(t *testing.T) {
	var s stream
	p := NewPrinter(&s, false, true)
	for range 10_000 {
		do(t, p.Print(rows{{"juliet@example.org", "Juliet", "both"}}))
		if len(p.text.buf) > 2*flushAt {
			t.Fatalf("%d bytes are held", len(p.text.buf))
		}
	}
	do(t, p.Flush())
	if got, want := strings.Join(s.writes, ""), strings.Repeat("juliet@example.org  Juliet  both\n", 10_000); got != want {
		t.Errorf("%d bytes, want %d", len(got), len(want))
	}
}

// No cell breaks the line, adds a cell or moves another out of its column.
func FuzzRow(f *testing.F) {
	for _, s := range []string{"", "hi", "a\tb", "a\nb", "\x1b[2J", "日本e\u0301", " ", strings.Repeat("x", 70)} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		table := rows{{a, b, "."}, {"x", "y", "."}}
		pipe := strings.Join(written(t, false, false, table), "")
		lines := strings.Split(pipe, "\n")
		if len(lines) != 3 || strings.Count(pipe, "\t") != 4 || !inLine(strings.ReplaceAll(lines[0], "\t", "")) {
			t.Fatalf("%+q, %+q: %+q", a, b, pipe)
		}
		shown := strings.Split(strings.Join(written(t, true, false, table), ""), "\n")
		if len(shown) != 3 || !inLine(shown[0]) || strings.ReplaceAll(shown[0], " ", "") != strings.NewReplacer(" ", "", "\t", "").Replace(lines[0]) {
			t.Fatalf("%+q, %+q: %+q", a, b, shown)
		}
		if displayWidth(Clean(a)) <= maxColumn && displayWidth(Clean(b)) <= maxColumn && displayWidth(shown[0]) != displayWidth(shown[1]) {
			t.Errorf("%+q, %+q: %+q", a, b, shown)
		}
	})
}

func BenchmarkRow(b *testing.B) {
	p := NewPrinter(&stream{}, false, true)
	r := rows{{"juliet@example.org", "Джульетта", "both"}}
	b.ReportAllocs()
	for b.Loop() {
		p.text.buf, p.text.table = p.text.buf[:0], 0
		if p.Print(r) != nil {
			b.Fatal("failed")
		}
		p.text.align()
	}
}
