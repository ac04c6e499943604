package document

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// hashed is the canonical property order of CBV 2.0 section 8.9.2, of an event
// and of what is in it.
var (
	hashedEvent = []string{"type", "eventTime", "eventTimeZoneOffset", "epcList", "parentID", "inputEPCList", "childEPCs", "quantityList",
		"childQuantityList", "inputQuantityList", "outputEPCList", "outputQuantityList", "action", "transformationID", "bizStep", "disposition",
		"persistentDisposition", "readPoint", "bizLocation", "bizTransactionList", "sourceList", "destinationList", "sensorElementList", "ilmd"}
	hashedQuantity = []string{"epcClass", "quantity", "uom"}
	hashedMetadata = []string{"time", "startTime", "endTime", "deviceID", "deviceMetadata", "rawData", "dataProcessingMethod", "bizRules"}
	hashedReport   = []string{"type", "exception", "deviceID", "deviceMetadata", "rawData", "dataProcessingMethod", "time", "microorganism",
		"chemicalSubstance", "value", "component", "stringValue", "booleanValue", "hexBinaryValue", "uriValue", "minValue", "maxValue",
		"meanValue", "sDev", "percRank", "percValue", "uom", "coordinateReferenceSystem"}
)

// unhashed are members that an id does not depend on.
var unhashed = map[string]bool{"eventID": true, "recordTime": true, "errorDeclaration": true, "certificationInfo": true,
	"@context": true, "rdfs:comment": true}

// defaultPrefixes are the standard's own.
var defaultPrefixes = map[string]string{"epcis": "https://ref.gs1.org/epcis/", "cbv": "https://ref.gs1.org/cbv/", "gs1": "https://gs1.org/voc/",
	"cbvmda": "urn:epcglobal:cbv:mda", "rdfs": "http://www.w3.org/2000/01/rdf-schema#", "owl": "http://www.w3.org/2002/07/owl#",
	"xsd": "http://www.w3.org/2001/XMLSchema#", "dcterms": "http://purl.org/dc/terms/"}

// hasher writes one event's pre-hash string.
type hasher struct{ prefixes map[string]string }

// hashID is the event's CBV 2.0 hash id.
func hashID(event *object, prefixes map[string]string) string {
	sum := sha256.Sum256([]byte(preHash(event, prefixes)))
	return "ni:///sha-256;" + hex.EncodeToString(sum[:]) + "?ver=CBV2.0"
}

func preHash(event *object, prefixes map[string]string) string {
	h := &hasher{prefixes}
	text, extensions := h.members(event, hashedEvent, "eventType")
	return text + sorted(extensions)
}

func sorted(parts []string) string {
	slices.Sort(parts)
	return strings.Join(parts, "")
}

// members writes an object's members in canonical order, and beside them those
// that the order does not name: extensions.
func (h *hasher) members(o *object, order []string, typeName string) (text string, extensions []string) {
	var b strings.Builder
	for _, name := range order {
		v, ok := o.m[name]
		if !ok || v == nil {
			continue
		}
		part, more := h.member(name, v, typeName)
		b.WriteString(part)
		extensions = append(extensions, more...)
	}
	for _, k := range o.keys {
		if !slices.Contains(order, k) && !unhashed[k] && !strings.HasPrefix(k, "@") {
			if s := h.extension(k, o.m[k]); s != "" {
				extensions = append(extensions, s)
			}
		}
	}
	return b.String(), extensions
}

func (h *hasher) member(name string, v any, typeName string) (text string, extensions []string) {
	switch v := v.(type) {
	case *object:
		return h.nested(name, v)
	case []any:
		return h.list(name, v)
	}
	label := name
	if name == "type" {
		label = typeName
	}
	return label + "=" + h.value(name, v), nil
}

// nested is one of the standard's members that holds members itself.
func (h *hasher) nested(name string, o *object) (string, []string) {
	order := []string{"id"}
	switch name {
	case "ilmd":
		return "ilmd" + h.children(o), nil
	case "persistentDisposition":
		order = []string{"set", "unset"}
	case "sensorMetadata":
		order = hashedMetadata
	}
	text, more := h.members(o, order, "type")
	if len(more) > 0 {
		more = []string{name + sorted(more)}
	}
	return name + text, more
}

// list is one of the standard's lists.
func (h *hasher) list(name string, list []any) (string, []string) {
	if len(list) == 0 {
		return "", nil
	}
	var parts, extensions []string
	of := func(element string, order []string) {
		for _, v := range list {
			if o, ok := v.(*object); ok {
				text, more := h.members(o, order, "type")
				parts = append(parts, element+text)
				if len(more) > 0 {
					extensions = append(extensions, element+sorted(more))
				}
			}
		}
	}
	heading := name
	switch name {
	case "epcList", "childEPCs", "inputEPCList", "outputEPCList":
		for _, v := range list {
			parts = append(parts, "epc="+h.value("epc", v))
		}
	case "set", "unset":
		heading = ""
		for _, v := range list {
			parts = append(parts, name+"="+h.value("disposition", v))
		}
	case "quantityList", "childQuantityList", "inputQuantityList", "outputQuantityList":
		of("quantityElement", hashedQuantity)
	case "bizTransactionList":
		of("", []string{"type", "bizTransaction"})
	case "sourceList":
		of("", []string{"type", "source"})
	case "destinationList":
		of("", []string{"type", "destination"})
	case "sensorElementList":
		of("sensorElement", []string{"sensorMetadata", "sensorReport"})
		if len(extensions) > 0 {
			extensions = []string{name + sorted(extensions)}
		}
	case "sensorReport":
		heading = ""
		of("sensorReport", hashedReport)
	}
	return heading + sorted(parts), extensions
}

// extension is a member that the standard does not define, with its namespace.
func (h *hasher) extension(key string, v any) string {
	name := key
	if namespace, local := h.expand(key); namespace != "" {
		name = "{" + namespace + "}" + local
	}
	switch v := v.(type) {
	case nil:
		return ""
	case *object:
		return name + h.children(v)
	case []any:
		var parts []string
		for _, x := range v {
			switch x := x.(type) {
			case *object:
				parts = append(parts, name+h.children(x))
			case []any, nil: // JSON-LD knows no list in a list
			default:
				parts = append(parts, name+"="+h.value("", x))
			}
		}
		return sorted(parts)
	}
	return name + "=" + h.value("", v)
}

func (h *hasher) children(o *object) string {
	var parts []string
	for _, k := range o.keys {
		if !strings.HasPrefix(k, "@") && !unhashed[k] {
			parts = append(parts, h.extension(k, o.m[k]))
		}
	}
	return sorted(parts)
}

// expand divides a member's name into namespace and local name. A prefix that
// nobody defines is none: the name is a whole URI then.
func (h *hasher) expand(key string) (namespace, local string) {
	prefix, rest, ok := strings.Cut(key, ":")
	if ns, known := h.prefixes[prefix]; ok && known && !strings.HasPrefix(rest, "//") {
		return ns, rest
	}
	i := strings.LastIndexAny(key, "/#:") + 1
	return key[:i], key[i:]
}

var (
	timePattern    = regexp.MustCompile(`^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$`)
	decimalPattern = regexp.MustCompile(`^[+-]?\d+(\.\d+)?$`)
)

// value is one value as it is hashed. name says which vocabulary a short name is of.
func (h *hasher) value(name string, v any) string {
	switch v := v.(type) {
	case bool:
		return strconv.FormatBool(v)
	case json.Number:
		return number(v)
	case string:
		return h.text(name, strings.TrimSpace(v))
	}
	return ""
}

func (h *hasher) text(name, s string) string {
	if timePattern.MatchString(s) {
		if t, err := time.Parse(time.RFC3339Nano, strings.ToUpper(s)); err == nil {
			return t.UTC().Round(time.Millisecond).Format("2006-01-02T15:04:05.000Z")
		}
	}
	if decimalPattern.MatchString(s) {
		return decimal(s)
	}
	switch {
	case name == "bizStep" && bizSteps[s]:
		return cbv + "BizStep-" + s
	case name == "disposition" && dispositions[s]:
		return cbv + "Disp-" + s
	case name == "type" && transactionTypes[s]:
		return cbv + "BTT-" + s
	case name == "type" && partyTypes[s]:
		return cbv + "SDT-" + s
	case name == "type" && measurements[s], name == "exception" && alerts[s]:
		return defaultPrefixes["gs1"] + s
	case name == "component" && components[s]:
		return cbv + "Comp-" + s
	}
	for old, now := range map[string]string{"bizstep:": "BizStep-", "disp:": "Disp-", "btt:": "BTT-", "sdt:": "SDT-", "er:": "ER-"} {
		if rest, ok := strings.CutPrefix(s, "urn:epcglobal:cbv:"+old); ok {
			return cbv + now + rest
		}
	}
	for _, p := range []string{"cbv", "gs1", "epcis"} {
		if rest, ok := strings.CutPrefix(s, p+":"); ok {
			return defaultPrefixes[p] + rest
		}
	}
	return Canonical(s)
}

const cbv = "https://ref.gs1.org/cbv/"

// decimal is a number without zeros that say nothing.
func decimal(s string) string {
	s, minus := strings.CutPrefix(s, "-")
	s = strings.TrimPrefix(s, "+")
	whole, part, _ := strings.Cut(s, ".")
	whole = strings.TrimLeft(whole, "0")
	part = strings.TrimRight(part, "0")
	if whole == "" {
		whole = "0"
	}
	if part != "" {
		whole += "." + part
	}
	if minus && whole != "0" {
		whole = "-" + whole
	}
	return whole
}

// number is the shortest text that reads as the same double, as JavaScript and
// Python write it.
func number(n json.Number) string {
	f, err := n.Float64()
	if err != nil {
		return string(n) // parseJSON takes none of these
	}
	abs := max(f, -f)
	if abs == 0 {
		return "0"
	}
	if abs < 1e21 && abs >= 1e-6 {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	s := strconv.FormatFloat(f, 'e', -1, 64)
	mantissa, exponent, _ := strings.Cut(s, "e")
	return mantissa + "e" + exponent[:1] + strings.TrimLeft(exponent[1:], "0")
}
