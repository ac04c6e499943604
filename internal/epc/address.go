package epc

import (
	"fmt"
	"net/url"
	"strings"
)

// An Address is a GS1 Digital Link's key with all its qualifiers: what a Link
// says, and for a trade item also which variant and which lot it is of.
type Address struct {
	Link
	Variant string // consumer product variant, AI 22
	Lot     string // AI 10
	// Controlled is the serial number that a third party controls, AI 235. It stands
	// alone beside the GTIN.
	Controlled string
}

// qualifiers of a trade item, in the order in which they may follow the GTIN.
var qualifiers = []struct {
	ai, name string
	most     int // characters
	of       func(*Address) *string
}{
	{"22", "consumer product variant", 20, func(a *Address) *string { return &a.Variant }},
	{"10", "lot", 20, func(a *Address) *string { return &a.Lot }},
	{"21", "serial number", 20, func(a *Address) *string { return &a.Serial }},
	{"235", "third party controlled serial number", 28, func(a *Address) *string { return &a.Controlled }},
}

// ParseAddress reads the escaped path of a GS1 Digital Link: that of a Link, with
// the qualifiers 22, 10 and 21 or 235 of a GTIN, in this order. One slash may
// follow.
func ParseAddress(path string) (a Address, err error) {
	path = strings.TrimSuffix(path, "/")
	if len(path) > 256 {
		return a, fmt.Errorf("epc: digital link path of %d bytes > 256", len(path))
	}
	rest, ok := strings.CutPrefix(path, "/01/")
	if !ok {
		a.Link, err = ParseDigitalLinkPath(path)
		return a, err
	}
	part := strings.Split(rest, "/")
	if a.GTIN, err = url.PathUnescape(part[0]); err == nil {
		err = checkKey("gtin", a.GTIN, 14)
	}
	if err != nil {
		return Address{}, fmt.Errorf("%w, in %q", err, path)
	}
	part = part[1:]
	for _, q := range qualifiers {
		if len(part) == 0 || part[0] != q.ai {
			continue
		}
		if len(part) < 2 {
			return Address{}, fmt.Errorf("epc: %s (%s) has no value, in %q", q.ai, q.name, path)
		}
		value, err := url.PathUnescape(part[1])
		if err != nil {
			return Address{}, fmt.Errorf("epc: value of %s in %q: %w", q.ai, path, err)
		}
		if err := checkText(q.name, value, q.most); err != nil {
			return Address{}, fmt.Errorf("%w, in %q", err, path)
		}
		*q.of(&a) = value
		part = part[2:]
	}
	if len(part) > 0 {
		return Address{}, fmt.Errorf("epc: %q does not belong there: after a gtin come 22, 10 and 21, each with its value, in this order, or 235, in %q", part[0], path)
	}
	if a.Controlled != "" && a.Variant+a.Lot+a.Serial != "" {
		return Address{}, fmt.Errorf("epc: 235 stands alone beside the gtin, in %q", path)
	}
	return a, nil
}

// Path is what ParseAddress reads.
func (a Address) Path() string {
	if a.GTIN == "" {
		return a.Link.Path()
	}
	path := "/01/" + a.GTIN
	for _, q := range qualifiers {
		if v := *q.of(&a); v != "" {
			path += "/" + q.ai + "/" + url.PathEscape(v)
		}
	}
	return path
}
