package xmpptest

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"

	"xmppkit/xmpp"
)

const (
	nsDiscoItems = "http://jabber.org/protocol/disco#items"
	nsRSM        = "http://jabber.org/protocol/rsm" // XEP-0059
	nsData       = "jabber:x:data"                  // XEP-0004
)

// disco answers XEP-0030 in the name of the server or, if user is not nil, of an
// account. Without a payload it returns the condition to refuse with.
//
// The server has no items but those of the fault disco-tree: nodes 1, 2, and so on,
// whose items are 1.1, 1.2, and so on.
func (c *conn) disco(request *xmpp.Element, user *account) (payload *xmpp.Element, condition string) {
	node := xmpp.Attr(request, "node")
	width, known := c.discoWidth(node)
	switch {
	case node != "" && (user != nil || !known):
		return nil, "item-not-found"
	case xmpp.Namespace(request) == xmpp.NSDiscoInfo:
		payload = c.discoInfo(user)
		if kind, ok := c.faults.value("account-info"); ok && user != nil {
			return c.accountInfo(kind, payload)
		}
	case user != nil:
		payload = resources(user)
	default:
		payload = c.discoItems(request, node, width)
	}
	if node != "" {
		payload.CreateAttr("node", node)
		if refusal, ok := c.faults.value("disco-refuse"); ok && strings.HasSuffix("."+node, ".2") {
			if refusal == "deep" {
				return xmpp.Add(payload, Deep(100)), ""
			}
			return nil, refusal
		}
	}
	return payload, ""
}

// Deep is an element with so many levels.
func Deep(levels int) *xmpp.Element {
	e := xmpp.NewElement("urn:x", "y")
	for range levels - 1 {
		e = xmpp.Add(xmpp.NewElement("urn:x", "y"), e)
	}
	return e
}

// discoWidth returns how many items a node of the tree has, and whether there is
// such a node.
func (c *conn) discoWidth(node string) (int, bool) {
	width, depth := 0, 0
	if value, ok := c.faults.value("disco-tree"); ok {
		width, depth, _ = treeSize(value)
	}
	level := 0
	if node != "" {
		level = strings.Count(node, ".") + 1
	}
	if level >= depth {
		width = 0
	}
	return width, level <= depth
}

func treeSize(value string) (width, depth int, ok bool) {
	n, err := fmt.Sscanf(value, "%dx%d", &width, &depth)
	return width, depth, n == 2 && err == nil && width > 0 && depth > 0 && value == fmt.Sprintf("%dx%d", width, depth)
}

// discoItems is a page of the items of a node (XEP-0059). Their ids in the result
// set are their numbers.
func (c *conn) discoItems(request *xmpp.Element, node string, width int) *xmpp.Element {
	list := xmpp.NewElement(nsDiscoItems, "query")
	item := func(attrs ...string) {
		xmpp.Add(list, xmpp.NewElement(nsDiscoItems, "item", append(attrs, "jid", c.s.Domain)...))
	}
	set := xmpp.Child(request, nsRSM, "set")
	number := func(name string, otherwise int) int {
		text, _ := xmpp.Text(set, nsRSM, name)
		n, _ := strconv.Atoi(text)
		return cmp.Or(n, otherwise)
	}
	first, page, count := number("after", 0)+1, number("max", width), strconv.Itoa(width)
	switch pages, _ := c.faults.value("disco-pages"); pages {
	case "short":
		page, count = 10, ""
	case "again":
		first = 1
	case "endless":
		width, count = math.MaxInt32, ""
	}
	if lie, ok := c.faults.value("disco-count"); ok {
		count = lie
	}
	last := min(first+page-1, width)
	for i := first; i <= last; i++ {
		n := strconv.Itoa(i)
		item("node", strings.TrimPrefix(node+"."+n, "."), "name", c.discoText("Item "+n))
	}
	if c.faults.has("disco-loop") {
		item("node", node)
		item()
	}
	if set != nil && width > 0 || last < width {
		var ids [2]string
		if first <= last {
			ids = [2]string{strconv.Itoa(first), strconv.Itoa(last)}
		}
		xmpp.Add(list, resultSet(ids[0], ids[1], count))
	}
	return list
}

// resultSet describes a page. An empty one has neither a first nor a last item.
func resultSet(first, last, count string) *xmpp.Element {
	set := xmpp.NewElement(nsRSM, "set")
	for _, part := range [][2]string{{"first", first}, {"last", last}, {"count", count}} {
		if part[1] != "" {
			xmpp.Add(set, xmpp.NewText(nsRSM, part[0], part[1]))
		}
	}
	return set
}

// discoText is a text, or what the fault disco-text puts in its place.
func (c *conn) discoText(text string) string {
	if t, ok := c.faults.value("disco-text"); ok {
		return t
	}
	return text
}

// resources are the items of an account.
func resources(user *account) *xmpp.Element {
	items := xmpp.NewElement(nsDiscoItems, "query")
	for _, there := range user.sessions {
		if there.presence != nil {
			items.CreateElement("item").CreateAttr("jid", there.jid.String())
		}
	}
	return items
}

func (c *conn) discoInfo(user *account) *xmpp.Element {
	info := xmpp.NewElement(xmpp.NSDiscoInfo, "query")
	identity := func(category, kind, name string) {
		xmpp.Add(info, xmpp.NewElement(xmpp.NSDiscoInfo, "identity", "category", category, "type", kind, "name", name))
	}
	features := []string{xmpp.NSDiscoInfo, nsDiscoItems, xmpp.NSPing}
	if user != nil {
		identity("account", "registered", "")
		if !c.faults.has("no-archive") {
			features = append(features, nsMAM, nsSID)
		}
	} else {
		identity("server", "im", c.discoText("xmpptest"))
		features = append(features, nsRoster, nsRSM, nsCarbons, nsTime, c.discoText("msgoffline"))
	}
	for _, f := range features {
		info.CreateElement("feature").CreateAttr("var", f)
	}
	if user == nil {
		xmpp.Add(info, c.contacts())
	}
	return info
}

// accountInfo is the answer to disco#info of an account with a fault of that kind.
func (c *conn) accountInfo(kind string, info *xmpp.Element) (payload *xmpp.Element, condition string) {
	asked := c.infoAsked
	c.infoAsked = true
	switch kind {
	case "once":
		if asked {
			return info, ""
		}
		return nil, "wait"
	case "empty":
		return &xmpp.Element{}, ""
	case "cancel":
		return nil, ""
	}
	return nil, kind
}

// contacts is the form of XEP-0157 (XEP-0128).
func (c *conn) contacts() *xmpp.Element {
	form := xmpp.NewElement(nsData, "x", "type", "result")
	field := func(name, kind string, values ...string) {
		f := xmpp.NewElement(nsData, "field", "var", name, "type", kind)
		for _, v := range values {
			xmpp.Add(f, xmpp.NewText(nsData, "value", v))
		}
		xmpp.Add(form, f)
	}
	field("FORM_TYPE", "hidden", "http://jabber.org/network/serverinfo")
	field("abuse-addresses", "list-multi", "mailto:abuse@"+c.s.Domain, c.discoText("xmpp:abuse@"+c.s.Domain))
	field("admin-addresses", "list-multi")
	return form
}
