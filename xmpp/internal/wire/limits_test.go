package wire

import (
	"errors"
	"io"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

func repeat(s string, n int) string { return strings.Repeat(s, n) }

// What has exactly the limit passes; one more, and the stanza is not whole, or the stream
// ends where that limit is its own.
func TestLimits(t *testing.T) {
	attrs := func(n int) (s string) {
		for i := range n {
			s += " a" + string(rune('a'+i/26)) + string(rune('a'+i%26)) + "=''"
		}
		return s
	}
	for name, c := range map[string]struct {
		limits Limits
		body   func(n int) string
		limit  int
	}{
		"stanza":         {Limits{}, func(n int) string { return "<a>" + repeat("x", n-7) + "</a>" }, 64 << 10},
		"stanza, attr":   {Limits{}, func(n int) string { return "<a b='" + repeat("x", n-9) + "'/>" }, 64 << 10},
		"stanza, runes":  {Limits{}, func(n int) string { return "<a>" + repeat("x", n-9) + "é</a>" }, 64 << 10},
		"stanza, spaces": {Limits{}, func(n int) string { return "<a" + repeat(" ", n-4) + "/>" }, 64 << 10},
		"stanza, own":    {Limits{Stanza: 1000}, func(n int) string { return " <a>" + repeat("x", n-7) + "</a>" }, 1000},
		"total":          {Limits{Total: 5000}, func(n int) string { return "<a/>" + repeat(" ", n-len(openStream)-4-len(endStream)) }, 5000},
		"depth":          {Limits{}, func(n int) string { return repeat("<a>", n) + repeat("</a>", n) }, 32},
		"depth, empty":   {Limits{Depth: 3}, func(n int) string { return repeat("<a>", n-1) + "<a/>" + repeat("</a>", n-1) }, 3},
		"attrs":          {Limits{}, func(n int) string { return "<a" + attrs(n) + "/>" }, 64},
		"declarations":   {Limits{Attrs: 5}, func(n int) string { return "<a xmlns='u' xmlns:p='u'" + attrs(n-1) + "/>" }, 5},
		"attrs, xmlns":   {Limits{}, func(n int) string { return "<a" + attrs(n) + " xmlns='u'/>" }, 64},
		"name":           {Limits{}, func(n int) string { return "<" + repeat("x", n) + "/>" }, 256},
		"qualified name": {Limits{}, func(n int) string { return "<stream:" + repeat("x", n-7) + "/>" }, 256},
		"attribute name": {Limits{}, func(n int) string { return "<a " + repeat("x", n) + "=''/>" }, 256},
		"namespace":      {Limits{}, func(n int) string { return "<a xmlns='" + repeat("x", n) + "'/>" }, 256},
		// The stanza and its xmlns are three parts.
		"nodes, elements":   {Limits{Nodes: 100}, func(n int) string { return "<a" + attrs((n-3)%2) + ">" + repeat("<b/>", (n-3)/2) + "</a>" }, 100},
		"nodes, texts":      {Limits{Nodes: 102}, func(n int) string { return "<a>" + repeat("<b>x</b>", (n-3)/3) + "</a>" }, 104},
		"nodes, attributes": {Limits{Nodes: 50}, func(n int) string { return "<a" + attrs(n-3) + "/>" }, 50},
		"nodes, namespaces": {Limits{Nodes: 99}, func(n int) string { return "<a>" + repeat("<stream:b/>", (n-3)/3) + "</a>" }, 101},
		"nodes, prefixes":   {Limits{Nodes: 51}, func(n int) string { return "<a xmlns:p='u'>" + repeat("<b p:a=''/>", (n-3)/4) + "</a>" }, 54},
	} {
		t.Run(name, func(t *testing.T) {
			for n := c.limit - 1; n <= c.limit; n++ {
				if _, s, err := readAll(strings.NewReader(openStream+c.body(n)+endStream), c.limits); err != io.EOF || len(s) != 1 {
					t.Errorf("%d: %v", n, err)
				}
			}
			over := openStream + c.body(c.limit+1)
			switch name, _, _ := strings.Cut(name, ","); name {
			case "stanza", "total", "name", "qualified name", "namespace":
				checkFailure(t, over+endStream, policy, c.limits)
			default:
				checkFlaw(t, over, "more than "+strconv.Itoa(flawLimit(c.limits, name)), c.limits)
			}
		})
	}
}

// flawLimit is the limit that a flaw names.
func flawLimit(l Limits, name string) int {
	l = l.withDefaults()
	switch {
	case name == "depth":
		return l.Depth
	case name == "attrs", name == "declarations":
		return l.Attrs
	case name == "nodes":
		return l.Nodes
	}
	return maxName
}

// The limits before the first stanza.
func TestHeaderLimits(t *testing.T) {
	for name, c := range map[string]struct {
		doc    func(n int) string
		limits Limits
		limit  int
	}{
		"white space": {func(n int) string { return repeat("\n", n) + "<s></s>" }, Limits{}, 1024},
		"after xml":   {func(n int) string { return "<?xml version='1.0'?>" + repeat(" ", n) + "<s></s>" }, Limits{}, 1024},
		"header":      {func(n int) string { return "<s a='" + repeat("x", n-8) + "'></s>" }, Limits{}, 64 << 10},
		"language":    {func(n int) string { return "<s xml:lang='" + repeat("x", n) + "'></s>" }, Limits{}, 256},
		"xml":         {func(n int) string { return "<?xml version='1.0'" + repeat(" ", n-21) + "?><s></s>" }, Limits{}, 256},
		"total":       {func(n int) string { return "<s a='" + repeat("x", n-12) + "'></s>" }, Limits{Total: 300}, 300},
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := readAll(strings.NewReader(c.doc(c.limit)), c.limits); err != io.EOF {
				t.Errorf("%d: %v", c.limit, err)
			}
			checkFailure(t, c.doc(c.limit+1), policy, c.limits)
		})
	}
}

// The caller raises the limits after the login.
func TestSetLimits(t *testing.T) {
	large := "<a>" + repeat("x", 1<<20) + "</a>"
	r := NewReader(strings.NewReader(openStream+"<b/>"+large+large), Limits{Total: 1000})
	r.Header()
	if _, _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	r.SetLimits(Limits{Stanza: 10 << 20})
	if _, n, err := r.Next(); err != nil || n != int64(len(large)) {
		t.Fatal(n, err)
	}
	r.SetLimits(Limits{Stanza: 1 << 20, Total: 1}) // less than has been read already
	if _, _, err := r.Next(); err == nil || err.Error() != "stream too large at byte 1048739 (policy-violation)" {
		t.Fatal(err)
	}
}

// A peer that never ends what it began is stopped at the limit,
// with bounded memory, whatever it began.
func TestEndless(t *testing.T) {
	many := ""
	for i := range 63 {
		many += " " + string(rune('a'+i%26)) + string(rune('a'+i/26)) + "=''"
	}
	for name, c := range map[string]struct {
		once, again string
		siblings    int // between the two
	}{
		"attribute":        {"<a b='", repeat("x", 1<<10), 0},
		"attribute, runes": {"<a b='", "é\r\n&lt;", 0},
		"text":             {"<a>", repeat("x", 1<<10), 0},
		"references":       {"<a>", "&#x10FFFF;", 0},
		"cdata":            {"<a><![CDATA[", "]", 0},
		"cdatas":           {"<a>", "<![CDATA[x]]>", 0},
		"white space":      {"<a ", " \t", 0},
		"siblings":         {"<a>", "<b/>", 0},
		"siblings, text":   {"<a>", "<b/>x", 0},
		"texts":            {"<a>", "<b>x</b>", 0},
		"namespaces":       {"<a>", "<b xmlns=''/>", 0},
		"attributes":       {"<a>", "<b" + many + "/>", 0},
		"prefixes":         {"<a xmlns:p='u'>", "<b p:a='' p:b=''/>", 0},
		"values":           {"<a>", "<b c='" + repeat("x", 2049) + "'/>", 0},
		"depth":            {"", "<a>", 0},
		"nodes, then text": {"<a>", repeat("x", 1<<10), 1<<17 - 10},
		"nodes, then runs": {"<a>", "<b c='" + repeat("x", 2049) + "'/>", 1<<17 - 11000},
		"name":             {"<", "a", 0},
		"stanzas":          {"", "<a/>", 0},
	} {
		t.Run(name, func(t *testing.T) {
			src := &watched{src: &loop{head: openStream + c.once, other: "<b/>", others: c.siblings, body: c.again}}
			limits := Limits{Stanza: 10 << 20}
			if name == "stanzas" {
				limits.Total = 4 << 20 // 10⁶ of them
			}
			r := NewReader(src, limits)
			runtime.GC()
			_, err := r.Header()
			for err == nil {
				_, _, err = r.Next()
			}
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || syntax.Condition != policy {
				t.Errorf("got %v", err)
			}
			if src.bytes > 10<<20+2*bufferSize {
				t.Errorf("read %d bytes", src.bytes)
			}
			if src.peak > 44<<20 {
				t.Errorf("%d MiB of heap", src.peak>>20)
			}
			t.Logf("%d MiB of heap at most, %v", src.peak>>20, err)
		})
	}
}

// watched counts the bytes read and looks at the heap once in a while.
type watched struct {
	src   io.Reader
	reads int
	bytes int
	peak  uint64
}

func (w *watched) Read(p []byte) (int, error) {
	if w.reads++; w.reads%8 == 0 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if m.HeapInuse > max(w.peak, 40<<20) { // on a busy machine much of that is garbage, which does not count
			runtime.GC()
			runtime.ReadMemStats(&m)
		}
		w.peak = max(w.peak, m.HeapInuse)
	}
	n, err := w.src.Read(p)
	w.bytes += n
	return n, err
}

// Neither direction recurses, so depth is a limit and no danger.
func TestDepth(t *testing.T) {
	const depth = 100_000
	limits := Limits{Stanza: 10 << 20, Depth: depth}
	body := repeat("<a>", depth) + repeat("</a>", depth)
	_, stanzas, err := readAll(strings.NewReader(openStream+body+endStream), limits)
	if err != io.EOF {
		t.Fatal(err)
	}
	out, err := Append(nil, stanzas[0])
	if err != nil || len(out) != len(body)+len(` xmlns="jabber:client"`)-len("</a>")+len("/") {
		t.Errorf("%d bytes, %v", len(out), err)
	}
	checkFlaw(t, openStream+body, "nested too deeply (more than 999 levels)", Limits{Stanza: 10 << 20, Depth: 999})
	checkFlaw(t, openStream+body, "nested too deeply (more than 32 levels)", Limits{Stanza: 10 << 20})
}

// Memory is allocated for stanzas, not for their parts.
func TestAllocations(t *testing.T) {
	r := NewReader(&loop{head: openStream, body: typicalMessage}, Limits{})
	if _, err := r.Header(); err != nil {
		t.Fatal(err)
	}
	n := testing.AllocsPerRun(100, func() {
		if _, _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	})
	if n > 12 {
		t.Errorf("%v allocations for a message", n)
	}
}
