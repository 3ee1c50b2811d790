package xep

// A Circle detects pages that repeat. It remembers one page, and replaces it after twice
// as many pages each time (Brent's algorithm). So it needs little memory, and detects a
// circle after at most three times as many pages as are in it and before it.
type Circle struct {
	pages        int
	last, lastID string
}

// Closed reports whether a page ends where the remembered one did, by what the server
// says or by its messages.
func (c *Circle) Closed(last, lastID string) bool {
	if last != "" && last == c.last || lastID != "" && lastID == c.lastID {
		return true
	}
	if c.pages++; c.pages&(c.pages-1) == 0 {
		c.last, c.lastID = last, lastID
	}
	return false
}
