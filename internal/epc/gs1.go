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

// GLN returns the 13 digits of a place, check digit included, or "" when id is
// no SGLN.
func (id ID) GLN() string { return id.key(SGLN) }

// GRAI returns 0, the 13 digits of an asset's type, check digit included, and
// its serial number, or "" when id is no GRAI.
func (id ID) GRAI() string {
	if k := id.key(GRAI); k != "" {
		return "0" + k + id.Serial
	}
	return ""
}

// GIAI returns company prefix and asset reference, or "" when id is no GIAI.
func (id ID) GIAI() string {
	if id.Scheme != GIAI || id.check() != nil {
		return ""
	}
	return id.CompanyPrefix + id.Reference
}

// key joins the digits and adds the check digit. An indicator or extension
// digit goes in front of the company prefix; the EPC keeps it in front of the
// reference.
func (id ID) key(s Scheme) string {
	if id.check() != nil || id.Scheme != s {
		return ""
	}
	d := id.CompanyPrefix + id.Reference
	if s == SGTIN || s == SSCC {
		d = id.Reference[:1] + id.CompanyPrefix + id.Reference[1:]
	}
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
// number, an SSCC, a GLN with or without an extension, a GRAI or a GIAI. It does
// not say where the company prefix ends, so it is no ID; two IDs have the same
// Link only if they name the same thing.
type Link struct {
	GTIN   string // 14 digits
	Serial string // of a GTIN, or extension of a GLN: set 82, not escaped; "" names the class, the place
	SSCC   string // 18 digits
	GLN    string // 13 digits
	GRAI   string // 14 digits, the first 0, and a serial number of up to 16 characters or none
	GIAI   string // up to 30 characters
}

// Link returns what the Digital Link of id says; the zero Link if id is invalid.
func (id ID) Link() Link {
	l := Link{GTIN: id.GTIN(), SSCC: id.SSCC(), GLN: id.GLN(), GRAI: id.GRAI(), GIAI: id.GIAI()}
	if l.GTIN != "" || l.GLN != "" && id.Serial != "0" {
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

// Path returns /01/{gtin}/21/{serial}, /01/{gtin}, /00/{sscc},
// /414/{gln}/254/{extension}, /414/{gln}, /8003/{grai} or /8004/{giai}, escaped.
func (l Link) Path() string {
	path := ""
	switch {
	case l.SSCC != "":
		return "/00/" + l.SSCC
	case l.GRAI != "":
		return "/8003/" + url.PathEscape(l.GRAI)
	case l.GIAI != "":
		return "/8004/" + url.PathEscape(l.GIAI)
	case l.GTIN != "":
		if path = "/01/" + l.GTIN; l.Serial != "" {
			path += "/21/" + url.PathEscape(l.Serial)
		}
	case l.GLN != "":
		if path = "/414/" + l.GLN; l.Serial != "" {
			path += "/254/" + url.PathEscape(l.Serial)
		}
	}
	return path
}

// ParseDigitalLinkPath reads the escaped path of a Digital Link, as Path
// writes it. A GTIN has 14 digits here: pad a shorter one with zeros.
func ParseDigitalLinkPath(path string) (Link, error) {
	if len(path) > 128 {
		return Link{}, fmt.Errorf("epc: digital link path of %d bytes > 128", len(path))
	}
	part := strings.Split(path, "/")
	for i := 2; i < len(part); i += 2 {
		value, err := url.PathUnescape(part[i])
		if err != nil {
			return Link{}, fmt.Errorf("epc: value %d of %q: %w", i/2, path, err)
		}
		part[i] = value
	}
	l, err := link(part)
	if err != nil {
		return Link{}, fmt.Errorf("%w, in %q", err, path)
	}
	return l, nil
}

// link reads "", application identifier, value and, for a GTIN or a GLN, a
// qualifier and its value.
func link(part []string) (Link, error) {
	var l Link
	if (len(part) != 3 && len(part) != 5) || part[0] != "" {
		return Link{}, fmt.Errorf("epc: no path like /01/{gtin}/21/{serial}")
	}
	key, qualifier := part[2], part[1]
	if len(part) == 5 {
		qualifier += "/" + part[3]
		l.Serial = part[4]
	}
	var err error
	switch qualifier {
	case "00":
		l.SSCC, err = key, CheckSSCC(key)
	case "01", "01/21":
		l.GTIN, err = key, checkKey("gtin", key, 14)
	case "414", "414/254":
		l.GLN, err = key, checkKey("gln", key, 13)
	case "8003":
		l.GRAI, err = key, checkGRAI(key)
	case "8004":
		l.GIAI, err = key, checkText("giai", key, 30)
	default:
		err = fmt.Errorf("epc: none of /01/{gtin}/21/{serial}, /01/{gtin}, /00/{sscc}, /414/{gln}/254/{extension}, /414/{gln}, /8003/{grai}, /8004/{giai}")
	}
	if err == nil && len(part) == 5 {
		err = checkSerial(l.Serial)
	}
	if err != nil {
		return Link{}, err
	}
	return l, nil
}

func checkGRAI(s string) error {
	if len(s) < 14 || s[0] != '0' {
		return fmt.Errorf("epc: grai %q: want 0, 13 digits and up to 16 characters", s)
	}
	if err := checkKey("grai", s[1:14], 13); err != nil || len(s) == 14 {
		return err
	}
	return checkText("serial number", s[14:], 16)
}
