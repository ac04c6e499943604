// Package epc names physical things the way GS1 does, and moves one name
// between its spellings: the bits in a tag's EPC memory, the tag URI and the
// pure identity URI of events, and the GS1 Digital Link of a QR code.
//
// It promises that every URI it accepts is the only one of its name: ParseURI
// then URI gives back what went in, and so do Decode then Encode. Whatever
// overflows, carries stray bits or is written in a second way is refused. Only
// the "+" codings leave a writer a choice; there Encode takes the shortest.
//
// Formats: GS1 EPC Tag Data Standard 2.3 (sections 6, 12, 14) and GS1 Digital
// Link URI Syntax.
package epc

import (
	"fmt"
	"net/url"
	"strings"
)

// A Scheme says what kind of thing an ID names, in the spelling of its URI.
type Scheme string

// The kinds of things in a supply chain.
const (
	SGTIN Scheme = "sgtin" // one trade item: a GTIN and a serial number
	SSCC  Scheme = "sscc"  // one logistic unit: a pallet, a parcel
	SGLN  Scheme = "sgln"  // a place, or with an extension one spot in it
	GRAI  Scheme = "grai"  // one returnable asset: a crate, a roll cage
	GIAI  Scheme = "giai"  // one asset: a vehicle, a reefer unit
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
	// Reference is, for an SGTIN, indicator digit and item; SSCC, extension digit
	// and serial reference; SGLN, location; GRAI, asset type; all of them digits
	// that fill the company prefix up. For a GIAI it is the asset's own reference,
	// characters of GS1's set 82.
	Reference string
	// Serial is of GS1's set 82: SGTIN 1..20 characters, GRAI 1..16, SGLN the
	// extension, 1..20, "0" for the place itself. SSCC and GIAI have none.
	Serial string
}

// grammar is what a name of a scheme must look like in any spelling.
type grammar struct {
	digits int // company prefix and reference together; 0: the reference is characters
	chars  int // of company prefix and reference together, where these are characters
	serial int // most characters of the serial number; 0: the scheme has none
}

func grammarOf(s Scheme) (grammar, bool) {
	switch s {
	case SGTIN:
		return grammar{digits: 13, serial: 20}, true
	case SSCC:
		return grammar{digits: 17}, true
	case SGLN:
		return grammar{digits: 12, serial: 20}, true
	case GRAI:
		return grammar{digits: 12, serial: 16}, true
	case GIAI:
		return grammar{chars: 30}, true
	}
	return grammar{}, false
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
// It may name what no tag of 96 bits can hold: Encode says so.
func ParseURI(s string) (ID, error) {
	if len(s) > 128 { // the longest valid URI has 24 escaped characters
		return ID{}, fmt.Errorf("epc: uri of %d bytes > 128", len(s))
	}
	rest, ok := strings.CutPrefix(s, "urn:epc:id:")
	if !ok {
		return ID{}, fmt.Errorf("epc: %q is no pure identity uri\nhint: it starts with urn:epc:id:", s)
	}
	scheme, rest, _ := strings.Cut(rest, ":")
	id, err := fields(Scheme(scheme), rest)
	if err != nil {
		return ID{}, fmt.Errorf("%w, in %q", err, s)
	}
	if id.URI() != s { // an escape nobody needs, or lower-case hex
		return ID{}, fmt.Errorf("epc: %q is not spelled as %q", s, id.URI())
	}
	return id, nil
}

// fields reads what follows the scheme in both kinds of URI.
func fields(scheme Scheme, s string) (ID, error) {
	id := ID{Scheme: scheme}
	var err error
	id.CompanyPrefix, id.Reference, _ = strings.Cut(s, ".")
	if g, ok := grammarOf(scheme); ok && g.serial > 0 {
		var serial string
		id.Reference, serial, _ = strings.Cut(id.Reference, ".")
		if id.Serial, err = url.PathUnescape(serial); err != nil {
			return ID{}, fmt.Errorf("epc: serial number: %w", err)
		}
	} else if g.chars > 0 {
		if id.Reference, err = url.PathUnescape(id.Reference); err != nil {
			return ID{}, fmt.Errorf("epc: reference: %w", err)
		}
	}
	return id, id.check()
}

// URI returns the pure identity, the one spelling two equal names share.
func (id ID) URI() string {
	if id.check() != nil {
		return ""
	}
	return "urn:epc:id:" + string(id.Scheme) + ":" + id.fields()
}

func (id ID) fields() string {
	s := id.CompanyPrefix + "." + uriEscaper().Replace(id.Reference)
	if g, _ := grammarOf(id.Scheme); g.serial > 0 {
		s += "." + uriEscaper().Replace(id.Serial)
	}
	return s
}

// uriEscaper covers the seven characters that TDS table A-1 escapes, and only those.
func uriEscaper() *strings.Replacer {
	return strings.NewReplacer(`"`, "%22", "%", "%25", "&", "%26", "/", "%2F", "<", "%3C", ">", "%3E", "?", "%3F")
}

// check holds for what any spelling of id may say; Encode is stricter.
func (id ID) check() error {
	g, ok := grammarOf(id.Scheme)
	if !ok {
		return fmt.Errorf("epc: scheme %q is not one of sgtin, sscc, sgln, grai, giai", id.Scheme)
	}
	if id.Filter > 7 {
		return fmt.Errorf("epc: filter %d > 7", id.Filter)
	}
	n := len(id.CompanyPrefix)
	if n < 6 || n > 12 || !digits(id.CompanyPrefix) {
		return fmt.Errorf("epc: company prefix %q: want 6 to 12 digits", id.CompanyPrefix)
	}
	if g.chars > 0 {
		if err := checkText("asset reference", id.Reference, g.chars-n); err != nil {
			return err
		}
	} else if want := g.digits - n; len(id.Reference) != want || want > 0 && !digits(id.Reference) {
		return fmt.Errorf("epc: reference %q: want %d digits after company prefix %s", id.Reference, want, id.CompanyPrefix)
	}
	if g.serial > 0 {
		return checkText("serial number", id.Serial, g.serial)
	}
	if id.Serial != "" {
		return fmt.Errorf("epc: %s has no serial number, got %q", id.Scheme, id.Serial)
	}
	return nil
}

// checkSerial holds for AI 21: one to twenty characters of GS1's set 82.
func checkSerial(s string) error { return checkText("serial number", s, 20) }

func checkText(what, s string, most int) error {
	if len(s) < 1 || len(s) > most {
		return fmt.Errorf("epc: %s %q has %d characters: want 1 to %d", what, s, len(s), most)
	}
	for i := range len(s) {
		if !set82(s[i]) {
			return fmt.Errorf("epc: %s %q: byte %#02x is outside gs1 character set 82", what, s, s[i])
		}
	}
	return nil
}

func set82(c byte) bool {
	return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'z' || strings.IndexByte(`!"%&'()*+,-./:;<=>?_`, c) >= 0
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
