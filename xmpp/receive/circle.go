package receive

// A circle notices pages that come again. It remembers one page, and then one after twice
// as many (Brent's algorithm): so it needs little memory, and notices a circle after at
// most three times as many pages as are in it and before it.
type circle struct {
	pages        int
	last, lastID string
}

// closed reports whether a page ends where the remembered one did: in what the server
// says of it, or in what is on it.
func (c *circle) closed(last, lastID string) bool {
	if last != "" && last == c.last || lastID != "" && lastID == c.lastID {
		return true
	}
	if c.pages++; c.pages&(c.pages-1) == 0 {
		c.last, c.lastID = last, lastID
	}
	return false
}
