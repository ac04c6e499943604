// Package epc names physical things the way GS1 does, and moves one name
// between its three spellings: the 96 bits in a tag's EPC memory, the pure
// identity URI of events, and the GS1 Digital Link of a QR code.
//
// It promises that every spelling it accepts is the only one: Decode then
// Encode, and ParseURI then URI, give back exactly what went in. Whatever
// overflows, carries stray bits or is written in a second way is refused.
//
// Formats: GS1 EPC Tag Data Standard 1.13 and GS1 Digital Link URI Syntax.
//
//	SGTIN-96  00110000 filter:3 partition:3 company+item:44   serial:38
//	SSCC-96   00110001 filter:3 partition:3 company+serial:58 zero:24
package epc

import (
	"fmt"
	"net/url"
	"strings"
)

// A Scheme says what kind of thing an ID names, in the spelling of its URI.
type Scheme string

const (
	SGTIN Scheme = "sgtin" // one trade item: a GTIN and a serial number
	SSCC  Scheme = "sscc"  // one logistic unit: a pallet, a parcel
)

// An ID is the name of one thing. The constructors, ParseURI and Decode give
// valid ones; on any other the text methods return "" and Encode an error.
//
// Filter is a hint for readers and no part of the name: to ask whether two
// IDs name the same thing compare their URI.
type ID struct {
	Scheme        Scheme
	Filter        uint8  // 0..7
	CompanyPrefix string // 6..12 digits
	Reference     string // SGTIN: indicator digit and item; SSCC: extension digit and serial reference
	Serial        string // SGTIN: 1..20 characters of GS1's set 82; SSCC: empty
}

// layout is what tells one 96-bit scheme from the next. The partition value
// moves the border between company prefix and reference, never their sum.
type layout struct {
	scheme     Scheme
	header     uint64
	digits     int // company prefix and reference together
	bits       int // the same two in binary
	serialBits int // 0: the scheme has no serial number
	padBits    int // zeros up to 96
}

func layouts() [2]layout {
	return [2]layout{
		{scheme: SGTIN, header: 0x30, digits: 13, bits: 44, serialBits: 38},
		{scheme: SSCC, header: 0x31, digits: 17, bits: 58, padBits: 24},
	}
}

// SGTIN96 names a trade item so that it fits a 96-bit tag: itemRef starts with
// the indicator digit and fills companyPrefix up to 13 digits, serial is a
// number below 2^38 without leading zeros, filter is 0..7.
func SGTIN96(companyPrefix, itemRef, serial string, filter uint8) (ID, error) {
	return encodable(ID{SGTIN, filter, companyPrefix, itemRef, serial})
}

// SSCC96 names a logistic unit: serialRef starts with the extension digit and
// fills companyPrefix up to 17 digits, filter is 0..7.
func SSCC96(companyPrefix, serialRef string, filter uint8) (ID, error) {
	return encodable(ID{SSCC, filter, companyPrefix, serialRef, ""})
}

func encodable(id ID) (ID, error) {
	if _, err := id.Encode(); err != nil {
		return ID{}, err
	}
	return id, nil
}

// ParseURI reads a pure identity URI such as urn:epc:id:sgtin:0614141.812345.6789.
// An SGTIN serial may be longer than a 96-bit tag can hold: Encode says so.
func ParseURI(s string) (ID, error) {
	if len(s) > 128 { // the longest valid URI has 20 escaped serial characters
		return ID{}, fmt.Errorf("epc: uri of %d bytes > 128", len(s))
	}
	rest, ok := strings.CutPrefix(s, "urn:epc:id:")
	if !ok {
		return ID{}, fmt.Errorf("epc: %q is no pure identity uri\nhint: it starts with urn:epc:id:", s)
	}
	scheme, rest, _ := strings.Cut(rest, ":")
	id := ID{Scheme: Scheme(scheme)}
	id.CompanyPrefix, rest, _ = strings.Cut(rest, ".")
	id.Reference = rest
	if id.Scheme == SGTIN {
		var serial string
		var err error
		id.Reference, serial, _ = strings.Cut(rest, ".")
		if id.Serial, err = url.PathUnescape(serial); err != nil {
			return ID{}, fmt.Errorf("epc: serial number of %q: %w", s, err)
		}
	}
	if _, err := id.check(); err != nil {
		return ID{}, err
	}
	if id.URI() != s { // an escape nobody needs, or lower-case hex
		return ID{}, fmt.Errorf("epc: %q is not spelled as %q", s, id.URI())
	}
	return id, nil
}

// URI returns the pure identity, the one spelling two equal names share.
func (id ID) URI() string {
	if _, err := id.check(); err != nil {
		return ""
	}
	s := "urn:epc:id:" + string(id.Scheme) + ":" + id.CompanyPrefix + "." + id.Reference
	if id.Scheme == SGTIN {
		s += "." + uriEscaper().Replace(id.Serial)
	}
	return s
}

// uriEscaper covers the seven characters that TDS table A-1 escapes, and only those.
func uriEscaper() *strings.Replacer {
	return strings.NewReplacer(`"`, "%22", "%", "%25", "&", "%26", "/", "%2F", "<", "%3C", ">", "%3E", "?", "%3F")
}

// check holds for what any spelling of id may say; Encode is stricter.
func (id ID) check() (layout, error) {
	for _, l := range layouts() {
		if l.scheme != id.Scheme {
			continue
		}
		if id.Filter > 7 {
			return l, fmt.Errorf("epc: filter %d > 7", id.Filter)
		}
		if n := len(id.CompanyPrefix); n < 6 || n > 12 || !digits(id.CompanyPrefix) {
			return l, fmt.Errorf("epc: company prefix %q: want 6 to 12 digits", id.CompanyPrefix)
		}
		if want := l.digits - len(id.CompanyPrefix); len(id.Reference) != want || !digits(id.Reference) {
			return l, fmt.Errorf("epc: reference %q: want %d digits after company prefix %s", id.Reference, want, id.CompanyPrefix)
		}
		if l.serialBits == 0 {
			if id.Serial != "" {
				return l, fmt.Errorf("epc: %s has no serial number, got %q", id.Scheme, id.Serial)
			}
			return l, nil
		}
		return l, checkSerial(id.Serial)
	}
	return layout{}, fmt.Errorf("epc: scheme %q is not one of sgtin, sscc", id.Scheme)
}

// checkSerial holds for AI 21: one to twenty characters of GS1's set 82.
func checkSerial(s string) error {
	if len(s) < 1 || len(s) > 20 {
		return fmt.Errorf("epc: serial number %q has %d characters: want 1 to 20", s, len(s))
	}
	for i := range len(s) {
		c := s[i]
		if !isDigit(c) && (c|0x20 < 'a' || c|0x20 > 'z') && !strings.ContainsRune(`!"%&'()*+,-./:;<=>?_`, rune(c)) {
			return fmt.Errorf("epc: serial number %q: byte %#02x is outside gs1 character set 82", s, c)
		}
	}
	return nil
}

func digits(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return s != ""
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
