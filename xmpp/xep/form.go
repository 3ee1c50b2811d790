package xep

import (
	"strings"

	"xmppkit/xmpp"
)

// NSForm is the namespace of data forms (XEP-0004).
const NSForm = "jabber:x:data"

// A Form maps fields to values. Its type is the value of FORM_TYPE (XEP-0068).
type Form struct {
	Type   string
	Fields map[string][]string
}

// FormOf reads a form. Fields without a name are left out.
func FormOf(x *xmpp.Element) Form {
	form := Form{Fields: make(map[string][]string)}
	for _, field := range xmpp.Children(x, NSForm, "field") {
		name, values := xmpp.Attr(field, "var"), []string{}
		for _, v := range xmpp.Children(field, NSForm, "value") {
			values = append(values, xmpp.TextOf(v))
		}
		switch {
		case name == "FORM_TYPE" && form.Type == "":
			form.Type = strings.Join(values, " ")
		case form.Fields[name] != nil: // a field may be repeated any number of times
			form.Fields[name] = append(form.Fields[name], values...)
		case name != "":
			form.Fields[name] = values
		}
	}
	return form
}

// Submit makes a completed form of a type. Each field has a name and a value.
func Submit(typ string, fields ...[2]string) *xmpp.Element {
	field := func(name, value string) *xmpp.Element {
		return xmpp.Add(xmpp.NewElement(NSForm, "field", "var", name), xmpp.NewText(NSForm, "value", value))
	}
	kind := field("FORM_TYPE", typ)
	kind.CreateAttr("type", "hidden")
	form := xmpp.Add(xmpp.NewElement(NSForm, "x", "type", "submit"), kind)
	for _, f := range fields {
		xmpp.Add(form, field(f[0], f[1]))
	}
	return form
}
