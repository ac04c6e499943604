package document

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"trailmark/internal/epc"
)

const gs1 = "https://id.gs1.org"

// scheme is how a kind of EPC becomes a GS1 Digital Link.
type scheme struct {
	key    string // application identifier
	digits int    // of company prefix and reference together, without check digit; 0: no digits, no check digit
	front  bool   // the reference's first digit goes in front
	zero   bool   // a zero goes in front
	mid    int    // fields of two digits between reference and serial: piece and total
	serial string // application identifier of the serial; "+": it is appended to the key; "": there is none
}

// schemes are those of urn:epc:id, and lgtin of urn:epc:class.
var schemes = map[string]scheme{
	"sgtin": {key: "01", digits: 13, front: true, serial: "21"},
	"lgtin": {key: "01", digits: 13, front: true, serial: "10"},
	"upui":  {key: "01", digits: 13, front: true, serial: "235"},
	"itip":  {key: "8006", digits: 13, front: true, mid: 2, serial: "21"},
	"sscc":  {key: "00", digits: 17, front: true},
	"sgln":  {key: "414", digits: 12, serial: "254"},
	"pgln":  {key: "417", digits: 12},
	"grai":  {key: "8003", digits: 12, zero: true, serial: "+"},
	"gdti":  {key: "253", digits: 12, serial: "+"},
	"sgcn":  {key: "255", digits: 12, serial: "+"},
	"gsrn":  {key: "8018", digits: 17},
	"gsrnp": {key: "8017", digits: 17},
	"gsin":  {key: "402", digits: 16},
	"giai":  {key: "8004"},
	"ginc":  {key: "401"},
	"cpi":   {key: "8010", serial: "8011"},
}

// Canonical is a name as CBV 2.0 writes it in an event's hash: an EPC, EPC class
// or pattern URI, or any GS1 Digital Link, as the constrained canonical Digital
// Link; every other text as it is. Check digits of a Digital Link are not looked at.
func Canonical(name string) string {
	for _, kind := range []string{"urn:epc:id:", "urn:epc:class:", "urn:epc:idpat:"} {
		if rest, ok := strings.CutPrefix(name, kind); ok {
			if link := fromEPC(rest, kind == "urn:epc:idpat:"); link != "" {
				return link
			}
			return name
		}
	}
	if link := fromLink(name); link != "" {
		return link
	}
	return name
}

// fromEPC is "" for what is no EPC known here.
func fromEPC(rest string, pattern bool) string {
	kind, fields, _ := strings.Cut(rest, ":")
	s, ok := schemes[kind]
	prefix, ref, _ := strings.Cut(fields, ".")
	if !ok || len(fields) > 120 || strings.ContainsAny(fields, "/?# ") || len(prefix) < 6 || len(prefix) > 12 || !digits(prefix) {
		return ""
	}
	if s.digits == 0 && s.serial == "" { // the reference goes on to the end
		if ref == "" || pattern {
			return ""
		}
		return gs1 + "/" + s.key + "/" + prefix + webEscape(ref)
	}
	ref, serial, more := strings.Cut(ref, ".")
	key := prefix + webEscape(ref)
	if s.digits > 0 {
		if key = prefix + ref; len(key) != s.digits || !digits(key) {
			return ""
		}
		if s.front {
			key = ref[:1] + prefix + ref[1:]
		}
		if s.zero {
			key = "0" + key
		}
		key += string(checkDigit(key))
	}
	for range s.mid {
		var field string
		if field, serial, more = strings.Cut(serial, "."); len(field) != 2 || !digits(field) {
			return ""
		}
		key += field
	}
	link := gs1 + "/" + s.key + "/" + key
	switch {
	case pattern && serial == "*" && s.serial != "", !pattern && !more && s.serial == "":
		return link
	case pattern || serial == "" || s.serial == "":
		return ""
	case kind == "sgln" && serial == "0":
		return link
	case s.serial == "+":
		return link + webEscape(serial)
	}
	return link + "/" + s.serial + "/" + webEscape(serial)
}

// webEscape escapes what an EPC URI does not and a Digital Link does.
func webEscape(s string) string {
	return strings.NewReplacer("!", "%21", "(", "%28", ")", "%29", "*", "%2A", "+", "%2B", ",", "%2C", ":", "%3A").Replace(s)
}

// primary is a key of a Digital Link.
type primary struct {
	name   string // other spelling
	digits int    // at the beginning of the value
	more   int    // characters that may follow
	finer  []string
}

var primaries = map[string]primary{
	"00": {"sscc", 18, 0, nil}, "01": {"gtin", 14, 0, []string{"21", "235", "10"}},
	"253": {"gdti", 13, 17, nil}, "255": {"gcn", 13, 12, nil}, "401": {"ginc", 0, 30, nil}, "402": {"gsin", 17, 0, nil},
	"414": {"gln", 13, 0, []string{"254"}}, "417": {"party", 13, 0, nil}, "8003": {"grai", 14, 16, nil}, "8004": {"giai", 0, 30, nil},
	"8006": {"itip", 18, 0, []string{"21", "10"}}, "8010": {"cpid", 0, 30, []string{"8011"}}, "8017": {"gsrnp", 18, 0, nil}, "8018": {"gsrn", 18, 0, nil},
}

var qualifierNames = map[string]string{"ser": "21", "lot": "10", "cpv": "22"}

// fromLink is "" for what is no GS1 Digital Link.
func fromLink(name string) string {
	if !strings.HasPrefix(name, "https://") && !strings.HasPrefix(name, "http://") || len(name) > 2048 {
		return ""
	}
	name, _, _ = strings.Cut(name, "#")
	name, _, _ = strings.Cut(name, "?")
	part := strings.Split(strings.TrimRight(name, "/"), "/")
	for i := 3; i+1 < len(part); i++ {
		key, known := part[i], false
		p, known := primaries[key]
		for k, other := range primaries {
			if other.name == key {
				key, p, known = k, other, true
			}
		}
		if !known {
			continue
		}
		value := part[i+1]
		if key == "01" && digits(value) && (len(value) == 8 || len(value) == 12 || len(value) == 13) {
			value = strings.Repeat("0", 14-len(value)) + value
		}
		if len(value) < p.digits || p.digits > 0 && !digits(value[:p.digits]) || len(value)-p.digits > 3*p.more || value == "" {
			continue
		}
		if link, ok := finest(gs1+"/"+key+"/"+value, p, part[i+2:]); ok {
			return link
		}
	}
	return ""
}

// finest adds the most fine-grained qualifier of those that follow a key.
func finest(link string, p primary, rest []string) (string, bool) {
	if len(rest)%2 != 0 {
		return "", false
	}
	found := map[string]string{}
	for i := 0; i < len(rest); i += 2 {
		q := rest[i]
		if n, ok := qualifierNames[q]; ok {
			q = n
		}
		if q != "22" && !slices.Contains(p.finer, q) || rest[i+1] == "" {
			return "", false
		}
		found[q] = rest[i+1]
	}
	for _, q := range p.finer {
		if v, ok := found[q]; ok {
			return link + "/" + q + "/" + v, true
		}
	}
	return link, true
}

// ObjectName is the one spelling of an object's name in statements: trade items,
// lots and logistic units as epc.Object writes them, other GS1 keys as Canonical
// does, and any other absolute URI as it is.
func ObjectName(name string) (string, error) {
	c := Canonical(name)
	if err := checkURI(c); err != nil {
		return "", err
	}
	if path, ok := strings.CutPrefix(c, gs1+"/"); ok {
		return linkName(c, strings.Split(path, "/"))
	}
	if strings.HasPrefix(c, "urn:epc:") {
		return "", fmt.Errorf("%q is no EPC that is known here", name)
	}
	if len(c) > 256 {
		return "", fmt.Errorf("name of %d bytes, the longest that is signed has 256", len(c))
	}
	return c, nil
}

// linkName is ObjectName of a canonical Digital Link.
func linkName(link string, part []string) (string, error) {
	var o epc.Object
	switch {
	case part[0] == "00":
		o.SSCC = part[1]
		if err := epc.CheckSSCC(o.SSCC); err != nil {
			return "", err
		}
		return o.URI(), nil
	case part[0] != "01":
		return link, nil
	}
	if err := epc.CheckGTIN(part[1]); err != nil {
		return "", err
	}
	if len(part) < 4 || part[2] == "235" {
		return link, nil
	}
	value, err := url.PathUnescape(part[3])
	if err != nil {
		return "", err
	}
	if o.GTIN = part[1]; part[2] == "21" {
		o.Serial = value
	} else {
		o.Lot = value
	}
	if uri := o.URI(); uri != "" {
		return uri, nil
	}
	return "", fmt.Errorf("%q is no item or lot: 1 to 20 characters of GS1's set 82", link)
}

// checkURI is what GS1's schema means by "format": "uri".
func checkURI(s string) error {
	u, err := url.Parse(s)
	if err != nil {
		return errors.New("no URI")
	}
	if !u.IsAbs() {
		return errors.New("no absolute URI")
	}
	return nil
}

func checkDigit(d string) byte {
	sum, weight := 0, 3
	for i := len(d) - 1; i >= 0; i-- {
		sum += weight * int(d[i]-'0')
		weight = 4 - weight
	}
	return byte('0' + (10-sum%10)%10)
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
