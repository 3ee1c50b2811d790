package output

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	zwnj = 0x200c // zero width non-joiner
	zwj  = 0x200d // zero width joiner
	vs15 = 0xfe0e // text style
	vs16 = 0xfe0f // emoji style
)

// joins reports whether r, one of the four above, has an effect between the texts before
// and after it. Without an effect it is invisible, and two different names look alike.
func joins(before string, r rune, after string) bool {
	last, _ := utf8.DecodeLastRuneInString(before)
	next, _ := utf8.DecodeRuneInString(after)
	switch r {
	case vs15, vs16:
		return unicode.Is(pictographs, last) || strings.ContainsRune("0123456789#*", last) && next == 0x20e3 // a keycap
	case zwj:
		if unicode.Is(pictographs, next) {
			return endsInEmoji(before)
		}
		return endsInJoining(before) && (isJoining(next) || !unicode.IsLetter(next)) // a letter at the end keeps its form from inside a word
	case zwnj:
		return endsInJoining(before) && isJoining(next)
	}
	return false
}

// endsInEmoji ignores the style and the colour of skin (Unicode, UAX #29, rule GB11).
func endsInEmoji(s string) bool {
	s = strings.TrimRightFunc(s, func(r rune) bool { return r == vs16 || 0x1f3fb <= r && r <= 0x1f3ff })
	last, _ := utf8.DecodeLastRuneInString(s)
	return unicode.Is(pictographs, last)
}

// endsInJoining ignores marks that several scripts have, such as vowel signs.
func endsInJoining(s string) bool {
	s = strings.TrimRightFunc(s, func(r rune) bool { return unicode.Is(unicode.Mn, r) && unicode.Is(unicode.Inherited, r) })
	last, _ := utf8.DecodeLastRuneInString(s)
	return isJoining(last)
}

// isJoining reports whether r belongs to a script that joins letters or keeps them
// apart: the cursive scripts, and those of India and its neighbours.
func isJoining(r rune) bool {
	return unicode.In(r, unicode.Arabic, unicode.Syriac, unicode.Mandaic, unicode.Nko, unicode.Mongolian, unicode.Adlam,
		unicode.Devanagari, unicode.Bengali, unicode.Gurmukhi, unicode.Gujarati, unicode.Oriya, unicode.Tamil,
		unicode.Telugu, unicode.Kannada, unicode.Malayalam, unicode.Sinhala, unicode.Myanmar, unicode.Khmer, unicode.Tibetan,
		unicode.Balinese, unicode.Javanese, unicode.Meetei_Mayek, unicode.Limbu, unicode.Newa, unicode.Tirhuta, unicode.Grantha)
}

// ignorable reports whether r is invisible: it has the property
// Default_Ignorable_Code_Point, as DerivedCoreProperties.txt of Unicode derives it.
func ignorable(r rune) bool {
	switch {
	case r < 0xad, 0x350 <= r && r < 0x600: // Latin, Greek, Cyrillic and Hebrew letters, with nothing among them
		return false
	case unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector):
		return true
	case 0xfff9 <= r && r <= 0xfffb, 0x13430 <= r && r <= 0x1343f: // annotations, and those of Egyptian hieroglyphs
		return false
	}
	return unicode.Is(unicode.Cf, r) && !unicode.Is(unicode.Prepended_Concatenation_Mark, r)
}

// pictographs are the characters of the property Extended_Pictographic in emoji-data.txt
// of Unicode 14.0.
var pictographs = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x00a9, 0x00a9, 1}, {0x00ae, 0x00ae, 1}, {0x203c, 0x203c, 1}, {0x2049, 0x2049, 1}, {0x2122, 0x2122, 1},
		{0x2139, 0x2139, 1}, {0x2194, 0x2199, 1}, {0x21a9, 0x21aa, 1}, {0x231a, 0x231b, 1}, {0x2328, 0x2328, 1},
		{0x2388, 0x2388, 1}, {0x23cf, 0x23cf, 1}, {0x23e9, 0x23f3, 1}, {0x23f8, 0x23fa, 1}, {0x24c2, 0x24c2, 1},
		{0x25aa, 0x25ab, 1}, {0x25b6, 0x25b6, 1}, {0x25c0, 0x25c0, 1}, {0x25fb, 0x25fe, 1}, {0x2600, 0x2605, 1},
		{0x2607, 0x2612, 1}, {0x2614, 0x2685, 1}, {0x2690, 0x2705, 1}, {0x2708, 0x2712, 1}, {0x2714, 0x2714, 1},
		{0x2716, 0x2716, 1}, {0x271d, 0x271d, 1}, {0x2721, 0x2721, 1}, {0x2728, 0x2728, 1}, {0x2733, 0x2734, 1},
		{0x2744, 0x2744, 1}, {0x2747, 0x2747, 1}, {0x274c, 0x274c, 1}, {0x274e, 0x274e, 1}, {0x2753, 0x2755, 1},
		{0x2757, 0x2757, 1}, {0x2763, 0x2767, 1}, {0x2795, 0x2797, 1}, {0x27a1, 0x27a1, 1}, {0x27b0, 0x27b0, 1},
		{0x27bf, 0x27bf, 1}, {0x2934, 0x2935, 1}, {0x2b05, 0x2b07, 1}, {0x2b1b, 0x2b1c, 1}, {0x2b50, 0x2b50, 1},
		{0x2b55, 0x2b55, 1}, {0x3030, 0x3030, 1}, {0x303d, 0x303d, 1}, {0x3297, 0x3297, 1}, {0x3299, 0x3299, 1},
	},
	R32: []unicode.Range32{
		{0x1f000, 0x1f0ff, 1}, {0x1f10d, 0x1f10f, 1}, {0x1f12f, 0x1f12f, 1}, {0x1f16c, 0x1f171, 1},
		{0x1f17e, 0x1f17f, 1}, {0x1f18e, 0x1f18e, 1}, {0x1f191, 0x1f19a, 1}, {0x1f1ad, 0x1f1e5, 1},
		{0x1f201, 0x1f20f, 1}, {0x1f21a, 0x1f21a, 1}, {0x1f22f, 0x1f22f, 1}, {0x1f232, 0x1f23a, 1},
		{0x1f23c, 0x1f23f, 1}, {0x1f249, 0x1f3fa, 1}, {0x1f400, 0x1f53d, 1}, {0x1f546, 0x1f64f, 1},
		{0x1f680, 0x1f6ff, 1}, {0x1f774, 0x1f77f, 1}, {0x1f7d5, 0x1f7ff, 1}, {0x1f80c, 0x1f80f, 1},
		{0x1f848, 0x1f84f, 1}, {0x1f85a, 0x1f85f, 1}, {0x1f888, 0x1f88f, 1}, {0x1f8ae, 0x1f8ff, 1},
		{0x1f90c, 0x1f93a, 1}, {0x1f93c, 0x1f945, 1}, {0x1f947, 0x1faff, 1}, {0x1fc00, 0x1fffd, 1},
	},
	LatinOffset: 2,
}
