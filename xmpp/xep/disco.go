package xep

import (
	"slices"

	"xmppkit/xmpp"
)

// The namespaces of XEP-0030: identities and features, and items.
const (
	NSDiscoInfo  = "http://jabber.org/protocol/disco#info"
	NSDiscoItems = "http://jabber.org/protocol/disco#items"
)

// DiscoInfo is the identities, features and forms of an entity.
type DiscoInfo struct {
	Identities []Identity
	Features   []string // sorted, each once
	Forms      []Form   // XEP-0128
}

// An Identity is one identity of an entity.
type Identity struct{ Category, Type, Name, Lang string }

// DiscoInfoOf reads an answer. The features are an unordered set; sorting makes equal sets
// look the same.
func DiscoInfoOf(query *xmpp.Element) DiscoInfo {
	var info DiscoInfo
	for _, i := range xmpp.Children(query, NSDiscoInfo, "identity") {
		info.Identities = append(info.Identities, Identity{xmpp.Attr(i, "category"), xmpp.Attr(i, "type"), xmpp.Attr(i, "name"), xmpp.Lang(i)})
	}
	for _, f := range xmpp.Children(query, NSDiscoInfo, "feature") {
		info.Features = append(info.Features, xmpp.Attr(f, "var"))
	}
	slices.Sort(info.Features)
	info.Features = slices.Compact(info.Features)
	for _, x := range xmpp.Children(query, NSForm, "x") {
		info.Forms = append(info.Forms, FormOf(x))
	}
	return info
}

// Has reports whether the entity has a feature.
func (i DiscoInfo) Has(feature string) bool {
	_, ok := slices.BinarySearch(i.Features, feature)
	return ok
}
