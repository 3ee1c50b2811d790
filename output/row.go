package output

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/text/width"
)

// maxColumn is the width up to which a cell widens its column. A wider cell affects
// only its own row: a name of a megabyte must not pad ten thousand others.
const maxColumn = 64

// Row appends a line of cells, strings or Words, each cleaned, with tabs between them.
// Programs get the tabs. On a terminal, consecutive rows of one record or of many
// form a table. Flush aligns its columns by display width, and cuts nothing. Rows
// after a Flush continue these columns, which can only grow.
func (t *Text) Row(cells ...any) {
	t.endLine()
	if !t.inTable {
		t.inTable, t.table, t.columns = true, len(t.buf), t.columns[:0]
	}
	for i, cell := range cells {
		if i > 0 {
			t.buf = append(t.buf, '\t')
		}
		switch cell := cell.(type) {
		case string:
			t.buf = appendClean(t.buf, cell, plain)
		case Words:
			t.buf = appendClean(t.buf, string(cell), phrase)
		default:
			t.buf = appendClean(t.buf, fmt.Sprint(cell), plain)
		}
	}
	t.buf = append(t.buf, '\n')
}

// endTable ends the table, because something else follows.
func (t *Text) endTable() {
	t.align()
	t.inTable = false
}

// align replaces the tabs between the cells of rows not yet written. In a cell there
// are no tabs and no line breaks.
func (t *Text) align() {
	if !t.inTable || !t.terminal {
		return
	}
	rows := string(t.buf[t.table:])
	t.buf = t.buf[:t.table]
	for row := range strings.Lines(rows) {
		t.widen(cells(row))
	}
	for row := range strings.Lines(rows) {
		t.buf = appendAligned(t.buf, cells(row), t.columns)
	}
	t.table = len(t.buf)
}

func cells(row string) []string { return strings.Split(strings.TrimSuffix(row, "\n"), "\t") }

// widen makes the columns as wide as a row needs them.
func (t *Text) widen(row []string) {
	for i, cell := range row {
		if i == len(t.columns) {
			t.columns = append(t.columns, 0)
		}
		if w := displayWidth(cell); w <= maxColumn {
			t.columns[i] = max(t.columns[i], w)
		}
	}
}

// appendAligned appends a row, two spaces between its columns. An empty column takes no
// space, and no line ends in spaces.
func appendAligned(dst []byte, row []string, columns []int) []byte {
	const between = 2
	gap := 0
	for i, cell := range row {
		if cell != "" {
			dst = append(append(dst, bytes.Repeat([]byte{' '}, gap)...), cell...)
			gap = between + max(0, columns[i]-displayWidth(cell))
		} else if columns[i] > 0 {
			gap += between + columns[i]
		}
	}
	return append(dst, '\n')
}

// displayWidth is the number of columns of a terminal that s takes. Terminals
// differ in ambiguous characters and joined emoji: for these it is a guess.
func displayWidth(s string) int {
	n := 0
	for _, r := range s {
		switch {
		case r < 0x7f:
			n++
		case unicode.In(r, unicode.Mn, unicode.Me), ignorable(r), 0x1160 <= r && r <= 0x11ff: // the latter join a Hangul syllable
		case wide(r):
			n += 2
		default:
			n++
		}
	}
	return n
}

func wide(r rune) bool {
	kind := width.LookupRune(r).Kind()
	return kind == width.EastAsianWide || kind == width.EastAsianFullwidth
}
