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
	nsDiscoInfo  = "http://jabber.org/protocol/disco#info"
	nsDiscoItems = "http://jabber.org/protocol/disco#items"
	nsRSM        = "http://jabber.org/protocol/rsm" // XEP-0059
	nsData       = "jabber:x:data"                  // XEP-0004
)

// disco implements XEP-0030.
func disco() feature {
	return feature{
		info: func(_ *conn, user *account) []string {
			if user != nil {
				return []string{nsDiscoInfo, nsDiscoItems}
			}
			return []string{nsDiscoInfo, nsDiscoItems, nsRSM}
		},
		requests: []handler{{"get", nsDiscoInfo, "query", false, discover}, {"get", nsDiscoItems, "query", false, discover}},
		faults: []kind{
			{"account-info", "", "wait|once|cancel|empty|silence", "disco#info of an account is refused with that type (once: with wait, the first time in each session), or the answer is empty, or missing"},
			{"disco-tree", "", "WIDTHxDEPTH", "its disco items are a tree of nodes, which is not really a fault"},
			{"disco-loop", "", "", "each list of disco items ends with the node it is of, and with the server"},
			{"disco-pages", "", "short|again|endless", "pages of disco items (XEP-0059) have 10 items, or are always the first, or never end"},
			{"disco-count", "", "N", "the count of a list of disco items in pages (XEP-0059) is N"},
			{"disco-refuse", "", "CONDITION", "refuses the second item of each list with that condition, or with silence leaves it unanswered; with deep the answer has 100 levels"},
			{"disco-text", "", "TEXT", "this is the name of everything in disco: identities, items, a feature, the value of a field"},
		},
	}
}

// ofServer are features of the server alone.
func ofServer(all ...string) func(*conn, *account) []string {
	return func(_ *conn, user *account) []string {
		if user != nil {
			return nil
		}
		return all
	}
}

// discover answers for the server or, if user is not nil, for an account. Without a
// payload it returns the condition of the refusal.
//
// The items of the server are its services or, with the fault disco-tree, nodes 1, 2, and so
// on, whose items are 1.1, 1.2, and so on.
func discover(c *conn, r request) (payload *xmpp.Element, condition string) {
	user, node := r.user, xmpp.Attr(r.payload, "node")
	width, known := c.faults.discoWidth(node)
	switch {
	case node != "" && (user != nil || !known):
		return nil, "item-not-found"
	case xmpp.Namespace(r.payload) == nsDiscoInfo:
		payload = discoInfo(c, user)
		if kind, ok := c.faults.value("account-info"); ok && user != nil {
			return accountInfo(c, kind, payload)
		}
	case user != nil:
		payload = resources(user)
	default:
		payload = discoItems(c, r.payload, node, width)
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

// Deep is an element with that many levels.
func Deep(levels int) *xmpp.Element {
	e := xmpp.NewElement("urn:x", "y")
	for range levels - 1 {
		e = xmpp.Add(xmpp.NewElement("urn:x", "y"), e)
	}
	return e
}

// discoWidth returns how many items a node of the tree has, and whether there is
// such a node.
func (fs faults) discoWidth(node string) (int, bool) {
	width, depth := 0, 0
	if value, ok := fs.value("disco-tree"); ok {
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

// discoItems returns a page of the items of a node (XEP-0059). The ids in the result
// set are the item numbers.
func discoItems(c *conn, request *xmpp.Element, node string, width int) *xmpp.Element {
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
		item("node", strings.TrimPrefix(node+"."+n, "."), "name", c.faults.discoText("Item "+n))
	}
	if node == "" && !c.faults.has("disco-tree") {
		for _, f := range c.s.features {
			if f.host != nil && f.host(c) != "" {
				xmpp.Add(list, xmpp.NewElement(nsDiscoItems, "item", "jid", f.host(c)+"."+c.s.Domain))
			}
		}
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

// discoText returns a text, or its replacement by the fault disco-text.
func (fs faults) discoText(text string) string {
	if t, ok := fs.value("disco-text"); ok {
		return t
	}
	return text
}

// resources returns the items of an account.
func resources(user *account) *xmpp.Element {
	items := xmpp.NewElement(nsDiscoItems, "query")
	for _, there := range user.sessions {
		if there.presence != nil {
			items.CreateElement("item").CreateAttr("jid", there.jid.String())
		}
	}
	return items
}

func discoInfo(c *conn, user *account) *xmpp.Element {
	info := xmpp.NewElement(nsDiscoInfo, "query")
	identity := func(category, kind, name string) {
		xmpp.Add(info, xmpp.NewElement(nsDiscoInfo, "identity", "category", category, "type", kind, "name", name))
	}
	var all []string
	for _, f := range c.s.features {
		if f.info != nil {
			all = append(all, f.info(c, user)...)
		}
	}
	if user != nil {
		identity("account", "registered", "")
	} else {
		identity("server", "im", c.faults.discoText("xmpptest"))
		all = append(all, c.faults.discoText("msgoffline"))
	}
	for _, f := range all {
		info.CreateElement("feature").CreateAttr("var", f)
	}
	if user == nil {
		xmpp.Add(info, serverContacts(c))
	}
	return info
}

// accountInfo is the answer to disco#info of an account with a fault of that kind.
func accountInfo(c *conn, kind string, info *xmpp.Element) (payload *xmpp.Element, condition string) {
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
func serverContacts(c *conn) *xmpp.Element {
	form := xmpp.NewElement(nsData, "x", "type", "result")
	field := func(name, kind string, values ...string) {
		f := xmpp.NewElement(nsData, "field", "var", name, "type", kind)
		for _, v := range values {
			xmpp.Add(f, xmpp.NewText(nsData, "value", v))
		}
		xmpp.Add(form, f)
	}
	field("FORM_TYPE", "hidden", "http://jabber.org/network/serverinfo")
	field("abuse-addresses", "list-multi", "mailto:abuse@"+c.s.Domain, c.faults.discoText("xmpp:abuse@"+c.s.Domain))
	field("admin-addresses", "list-multi")
	return form
}
