package output

// Row appends a line of cells, each cleaned as by Clean, with tabs between them.
func (t *Text) Row(cells ...string) {
	for i, cell := range cells {
		if i > 0 {
			t.buf = append(t.buf, '\t')
		}
		t.buf = appendClean(t.buf, cell, plain)
	}
	t.buf = append(t.buf, '\n')
}
