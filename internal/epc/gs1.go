package epc

import (
	"fmt"
	"net/url"
	"strings"
)

// GTIN returns the 14 digits of a trade item's class, check digit included,
// or "" when id is no SGTIN.
func (id ID) GTIN() string { return id.key(SGTIN) }

// SSCC returns the 18 digits of a logistic unit, check digit included, or ""
// when id is no SSCC.
func (id ID) SSCC() string { return id.key(SSCC) }

// key moves the indicator or extension digit in front of the company prefix,
// where the EPC keeps it in front of the reference.
func (id ID) key(s Scheme) string {
	if _, err := id.check(); err != nil || id.Scheme != s {
		return ""
	}
	d := id.Reference[:1] + id.CompanyPrefix + id.Reference[1:]
	return d + string(checkDigit(d))
}

// checkDigit weighs digits 3, 1, 3, ... from the right (GS1 General
// Specifications 7.9). d holds digits only.
func checkDigit(d string) byte {
	sum, weight := 0, 3
	for i := len(d) - 1; i >= 0; i-- {
		sum += weight * int(d[i]-'0')
		weight = 4 - weight
	}
	return byte('0' + (10-sum%10)%10)
}

// CheckGTIN says what is wrong with a GTIN of 8, 12, 13 or 14 digits.
func CheckGTIN(s string) error {
	switch len(s) {
	case 8, 12, 13, 14:
		return checkKey("gtin", s, len(s))
	}
	return fmt.Errorf("epc: gtin %q has %d characters: want 8, 12, 13 or 14 digits", s, len(s))
}

// CheckSSCC says what is wrong with an SSCC of 18 digits.
func CheckSSCC(s string) error { return checkKey("sscc", s, 18) }

func checkKey(name, s string, n int) error {
	if len(s) != n || !digits(s) {
		return fmt.Errorf("epc: %s %q: want %d digits", name, s, n)
	}
	if want := checkDigit(s[:n-1]); s[n-1] != want {
		return fmt.Errorf("epc: %s %s ends in check digit %c: want %c", name, s, s[n-1], want)
	}
	return nil
}

// A Link is what a GS1 Digital Link says: a GTIN with or without a serial
// number, or an SSCC. It does not say where the company prefix ends, so it is
// no ID; two IDs have the same Link only if they name the same thing.
type Link struct {
	GTIN   string // 14 digits
	Serial string // set 82, not escaped; "" names the class, not one item
	SSCC   string // 18 digits
}

// Link returns what the Digital Link of id says; the zero Link if id is invalid.
func (id ID) Link() Link {
	l := Link{GTIN: id.GTIN(), SSCC: id.SSCC()}
	if l.GTIN != "" {
		l.Serial = id.Serial
	}
	return l
}

// DigitalLink returns the address a QR code carries, base being a scheme and
// host such as https://id.example.com. It is "" when id is invalid.
func (id ID) DigitalLink(base string) string {
	if path := id.Link().Path(); path != "" {
		return strings.TrimRight(base, "/") + path
	}
	return ""
}

// Path returns /01/{gtin}/21/{serial}, /01/{gtin} or /00/{sscc}, escaped.
func (l Link) Path() string {
	switch {
	case l.SSCC != "":
		return "/00/" + l.SSCC
	case l.GTIN != "" && l.Serial != "":
		return "/01/" + l.GTIN + "/21/" + url.PathEscape(l.Serial)
	case l.GTIN != "":
		return "/01/" + l.GTIN
	}
	return ""
}

// ParseDigitalLinkPath reads the escaped path of a Digital Link, as Path
// writes it. A GTIN has 14 digits here: pad a shorter one with zeros.
func ParseDigitalLinkPath(path string) (Link, error) {
	if len(path) > 128 {
		return Link{}, fmt.Errorf("epc: digital link path of %d bytes > 128", len(path))
	}
	var l Link
	part := strings.Split(path, "/")
	switch {
	case len(part) == 3 && part[0] == "" && part[1] == "00":
		if err := CheckSSCC(part[2]); err != nil {
			return Link{}, err
		}
		return Link{SSCC: part[2]}, nil
	case len(part) == 3 && part[0] == "" && part[1] == "01":
	case len(part) == 5 && part[0] == "" && part[1] == "01" && part[3] == "21":
		serial, err := url.PathUnescape(part[4])
		if err != nil {
			return Link{}, fmt.Errorf("epc: serial number of %q: %w", path, err)
		}
		if err := checkSerial(serial); err != nil {
			return Link{}, err
		}
		l.Serial = serial
	default:
		return Link{}, fmt.Errorf("epc: path %q is none of /01/{gtin}/21/{serial}, /01/{gtin}, /00/{sscc}", path)
	}
	if err := checkKey("gtin", part[2], 14); err != nil {
		return Link{}, err
	}
	l.GTIN = part[2]
	return l, nil
}
