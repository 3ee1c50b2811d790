// Package wire turns the bytes of an XMPP stream into elements and elements
// into bytes.
//
// The reader accepts the XML that RFC 6120, section 11 leaves to XMPP and
// nothing else. It exists because encoding/xml is no such reader: that accepts
// duplicate attributes, undeclared prefixes, comments and document types, has
// no limits, and reads past the point where TLS has to take over. Whatever two
// parsers could understand differently is refused here, never repaired, and
// after the first error the stream is dead: a parser that looks for the next
// good byte is how stanzas are smuggled.
//
// Left out on purpose: validation against schemas, encodings other than UTF-8,
// entities beyond the five predefined ones, and any knowledge of stanzas: the
// package knows that a stream has first-level children, not what they mean.
package wire
