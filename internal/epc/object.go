package epc

import (
	"fmt"
	"net/url"
	"strings"
)

// An Object is what events name: one trade item, a lot of them, or a logistic
// unit. It is comparable; equal Objects are the same thing, whatever coding a
// tag has and wherever its company prefix ends.
type Object struct {
	GTIN   string // 14 digits, with one of:
	Serial string // 1 to 20 characters of set 82, not escaped
	Lot    string // likewise
	SSCC   string // 18 digits, alone
}

const objectBase = "https://id.gs1.org"

// TagObject is what a tag's EPC memory names; false where that is no trade item
// or logistic unit, or no valid coding.
func TagObject(tag []byte) (Object, bool) {
	t, err := DecodeTag(tag)
	if err != nil || t.Link.SSCC == "" && (t.Link.GTIN == "" || t.Link.Serial == "") {
		return Object{}, false
	}
	return Object{GTIN: t.Link.GTIN, Serial: t.Link.Serial, SSCC: t.Link.SSCC}, true
}

// URI is the object's one spelling in statements, a canonical GS1 Digital Link:
// https://id.gs1.org/01/{gtin}/21/{serial}, …/01/{gtin}/10/{lot} or …/00/{sscc}.
// It is "" when o is not valid.
func (o Object) URI() string {
	switch o {
	case Object{SSCC: o.SSCC}:
		if CheckSSCC(o.SSCC) == nil {
			return objectBase + "/00/" + o.SSCC
		}
	case Object{GTIN: o.GTIN, Serial: o.Serial}:
		if checkKey("gtin", o.GTIN, 14) == nil && checkSerial(o.Serial) == nil {
			return objectBase + "/01/" + o.GTIN + "/21/" + escape(o.Serial)
		}
	case Object{GTIN: o.GTIN, Lot: o.Lot}:
		if checkKey("gtin", o.GTIN, 14) == nil && checkText("lot", o.Lot, 20) == nil {
			return objectBase + "/01/" + o.GTIN + "/10/" + escape(o.Lot)
		}
	}
	return ""
}

// ParseObject reads the canonical spelling and no other.
func ParseObject(uri string) (Object, error) {
	if len(uri) > 128 {
		return Object{}, fmt.Errorf("epc: object uri of %d bytes > 128", len(uri))
	}
	var o Object
	path, ok := strings.CutPrefix(uri, objectBase+"/")
	part := strings.Split(path, "/")
	switch {
	case ok && len(part) == 2 && part[0] == "00":
		o.SSCC = part[1]
	case ok && len(part) == 4 && part[0] == "01":
		value, err := url.PathUnescape(part[3])
		if err != nil {
			return Object{}, fmt.Errorf("epc: object %q: %w", uri, err)
		}
		o.GTIN = part[1]
		switch part[2] {
		case "21":
			o.Serial = value
		case "10":
			o.Lot = value
		}
	}
	if uri == "" || o.URI() != uri {
		return Object{}, fmt.Errorf("epc: %q is no canonical object uri\nhint: it looks like %s/01/{gtin}/21/{serial}, …/01/{gtin}/10/{lot} or …/00/{sscc}, with upper-case escapes", uri, objectBase)
	}
	return o, nil
}

// escape leaves RFC 3986's unreserved characters alone: what GS1's own syntax
// engine writes in a path.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '-' || c == '.' || c == '_' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
