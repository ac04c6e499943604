package document

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// A rule judges one value and tells the judge what is wrong with it.
type rule func(j *judge, path string, v any)

// shape is what an object may hold. Members that it does not name are extensions,
// whose names are URIs or have a prefix.
type shape struct {
	members  map[string]rule
	required []string
	closed   bool // no extensions
	open     bool // what the standard does not look into
}

// judge collects what is wrong with one event, or with a document around its events.
type judge struct {
	event  int
	errors Errors
}

func (j *judge) errorf(path, hint, format string, args ...any) {
	if len(j.errors) < maxErrors {
		j.errors = append(j.errors, &Error{Event: j.event, Path: path, What: fmt.Sprintf(format, args...), Hint: hint})
	}
}

// kind is what a JSON value is called in an error.
func kind(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case json.Number:
		return "a number"
	case []any:
		return "a list"
	}
	return "an object"
}

func (j *judge) object(path string, v any, s shape) *object {
	o, ok := v.(*object)
	if !ok {
		j.errorf(path, "", "is %s, want an object", kind(v))
		return nil
	}
	for _, name := range s.required {
		if _, ok := o.m[name]; !ok {
			j.errorf(path, "", "member %q is missing", name)
		}
	}
	for _, key := range o.keys {
		at := member(path, key)
		switch check, known := s.members[key]; {
		case known:
			check(j, at, o.m[key])
		case s.open:
		case s.closed:
			j.errorf(at, "the standard has no extensions here", "unknown member")
		case checkURI(key) != nil:
			j.errorf(at, "an extension's name is a URI, or has a prefix that @context defines: example:"+strings.TrimLeft(key, "@:"), "unknown member")
		}
	}
	return o
}

func text(j *judge, path string, v any) {
	if _, ok := v.(string); !ok {
		j.errorf(path, "", "is %s, want a string", kind(v))
	}
}

func matches(pattern, what string) rule {
	p := regexp.MustCompile(pattern)
	return func(j *judge, path string, v any) {
		s, ok := v.(string)
		if !ok {
			j.errorf(path, "", "is %s, want a string", kind(v))
		} else if !p.MatchString(s) {
			j.errorf(path, what, "%.60q is out of form", s)
		}
	}
}

func uri(j *judge, path string, v any) {
	s, ok := v.(string)
	if !ok {
		j.errorf(path, "", "is %s, want a URI", kind(v))
		return
	}
	if err := checkURI(s); err != nil {
		j.errorf(path, "urn:epc:id:sgtin:0614141.107346.2018 or https://id.gs1.org/01/10614141073464/21/2018", "%.120q is %v", s, err)
	}
}

func instant(j *judge, path string, v any) {
	s, ok := v.(string)
	if !ok {
		j.errorf(path, "", "is %s, want a time", kind(v))
	} else if _, err := parseTime(s); err != nil {
		j.errorf(path, "a time is written 2026-03-01T08:00:00.000+08:00", "%.60q: %v", s, err)
	}
}

func parseTime(s string) (time.Time, error) {
	if !timePattern.MatchString(s) {
		return time.Time{}, fmt.Errorf("no RFC 3339 time")
	}
	return time.Parse(time.RFC3339Nano, strings.ToUpper(s))
}

func decimalNumber(j *judge, path string, v any) {
	if _, ok := v.(json.Number); !ok {
		j.errorf(path, "", "is %s, want a number", kind(v))
	}
}

func boolean(j *judge, path string, v any) {
	if _, ok := v.(bool); !ok {
		j.errorf(path, "", "is %s, want true or false", kind(v))
	}
}

// short is a vocabulary's short name, or a URI that is not the standard's own
// spelling of one.
func short(vocabulary map[string]bool, own ...string) rule {
	return func(j *judge, path string, v any) {
		s, ok := v.(string)
		if !ok {
			j.errorf(path, "", "is %s, want a string", kind(v))
			return
		}
		if vocabulary[s] {
			return
		}
		for _, p := range own {
			if strings.HasPrefix(s, p) {
				j.errorf(path, "in JSON the standard's own values are short: shipping, in_transit", "%.120q", s)
				return
			}
		}
		if err := checkURI(s); err != nil {
			j.errorf(path, "a short name of CBV 2.0, or a URI of your own", "%.120q is neither", s)
		}
	}
}

var cbvOwn = []string{"urn:epcglobal:cbv", "http://ns.gs1.org/cbv/", "https://ns.gs1.org/cbv/"}
var vocOwn = []string{"http://gs1.org/voc/", "https://gs1.org/voc/", "http://www.gs1.org/voc/", "https://www.gs1.org/voc/"}

func list(each rule, least int, unique bool) rule {
	return func(j *judge, path string, v any) {
		l, ok := v.([]any)
		if !ok {
			j.errorf(path, "", "is %s, want a list", kind(v))
			return
		}
		if len(l) < least {
			j.errorf(path, "", "%d entries, want %d or more", len(l), least)
		}
		if len(l) > MaxItems {
			j.errorf(path, "divide the event", "%d entries, the most are %d", len(l), MaxItems)
			return
		}
		seen := map[string]int{}
		for i, x := range l {
			at := fmt.Sprintf("%s[%d]", path, i)
			each(j, at, x)
			if s, ok := x.(string); ok && unique {
				if first, twice := seen[s]; twice {
					j.errorf(at, "", "the same as number %d", first)
				} else {
					seen[s] = i
				}
			}
		}
	}
}

func of(s shape) rule {
	return func(j *judge, path string, v any) { j.object(path, v, s) }
}

func anything(*judge, string, any) {}

// contexts: a URI, an object, or a list of them.
func contexts(j *judge, path string, v any) {
	switch v := v.(type) {
	case string:
		uri(j, path, v)
	case *object:
	case []any:
		for i, x := range v {
			at := fmt.Sprintf("%s[%d]", path, i)
			if _, nested := x.([]any); nested {
				j.errorf(at, "", "is a list, want a URI or an object")
			} else {
				contexts(j, at, x)
			}
		}
	default:
		j.errorf(path, "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld", "is %s, want a URI, an object or a list", kind(v))
	}
}

func uris(j *judge, path string, v any) {
	if _, ok := v.([]any); ok {
		list(uri, 0, false)(j, path, v)
	} else {
		uri(j, path, v)
	}
}

var (
	epcs       = list(uri, 0, true)
	quantities = list(of(shape{closed: true, required: []string{"epcClass"}, members: map[string]rule{"epcClass": uri, "quantity": decimalNumber,
		"uom": matches(`^[A-Z0-9]{2,3}$`, "a UN/CEFACT code: KGM")}}), 0, false)
	place        = of(shape{open: true, required: []string{"id"}, members: map[string]rule{"id": uri}})
	transactions = list(of(shape{closed: true, required: []string{"bizTransaction"}, members: map[string]rule{"type": short(transactionTypes, cbvOwn...), "bizTransaction": uri}}), 0, false)
	metadata     = of(shape{members: map[string]rule{"time": instant, "startTime": instant, "endTime": instant, "deviceID": uri, "deviceMetadata": uri, "rawData": uri,
		"dataProcessingMethod": uri, "bizRules": uri}})
	report = of(shape{required: []string{"type"}, members: map[string]rule{"type": short(measurements, vocOwn...), "exception": short(alerts, vocOwn...), "deviceID": uri,
		"deviceMetadata": uri, "rawData": uri, "dataProcessingMethod": uri, "bizRules": uri, "time": instant, "microorganism": uri, "chemicalSubstance": uri,
		"coordinateReferenceSystem": uri, "value": decimalNumber, "component": short(components, cbvOwn...), "stringValue": text, "booleanValue": boolean,
		"hexBinaryValue": matches(`^[A-Fa-f0-9]+$`, "hex digits"), "uriValue": uri, "minValue": decimalNumber, "maxValue": decimalNumber, "meanValue": decimalNumber,
		"sDev": decimalNumber, "percRank": decimalNumber, "percValue": decimalNumber, "uom": text}})
	sensors = list(of(shape{required: []string{"sensorReport"}, members: map[string]rule{"sensorMetadata": metadata, "sensorReport": list(report, 1, false)}}), 0, false)
)

func parties(name string) rule {
	return list(of(shape{closed: true, required: []string{"type", name}, members: map[string]rule{"type": short(partyTypes, cbvOwn...), name: uri}}), 0, false)
}

func persistent(j *judge, path string, v any) {
	some := list(short(dispositions, cbvOwn...), 1, true)
	o := j.object(path, v, shape{closed: true, members: map[string]rule{"set": some, "unset": some}})
	if o != nil && len(o.keys) == 0 {
		j.errorf(path, "", "neither set nor unset")
	}
}

// common are the members of every event; with the second list of what its type has.
func common(more map[string]rule, required ...string) shape {
	m := map[string]rule{"@context": contexts, "type": text, "eventTime": instant, "recordTime": instant, "eventID": uri, "certificationInfo": uris,
		"eventTimeZoneOffset": matches(`^([+]|[-])((0[0-9]|1[0-3]):([0-5][0-9])|14:00)$`, "an offset is written +08:00"),
		"errorDeclaration": of(shape{required: []string{"declarationTime"}, members: map[string]rule{"declarationTime": instant,
			"reason": short(reasons, cbvOwn...), "correctiveEventIDs": list(uri, 0, false)}}),
		"bizStep": short(bizSteps, cbvOwn...), "disposition": short(dispositions, cbvOwn...), "readPoint": place, "bizLocation": place,
		"bizTransactionList": transactions, "sourceList": parties("source"), "destinationList": parties("destination"), "sensorElementList": sensors}
	for k, r := range more {
		m[k] = r
	}
	return shape{members: m, required: append([]string{"type", "eventTime", "eventTimeZoneOffset"}, required...)}
}

func action(j *judge, path string, v any) {
	if s, _ := v.(string); s != "ADD" && s != "OBSERVE" && s != "DELETE" {
		j.errorf(path, "ADD, OBSERVE or DELETE", "no action")
	}
}

func extensions(j *judge, path string, v any) { j.object(path, v, shape{}) }

// eventShapes are the types of events that are captured.
var eventShapes = map[string]shape{
	"ObjectEvent": common(map[string]rule{"action": action, "epcList": epcs, "quantityList": quantities, "persistentDisposition": persistent, "ilmd": extensions}, "action"),
	"AggregationEvent": common(map[string]rule{"action": action, "parentID": uri, "childEPCs": list(uri, 0, false), "childQuantityList": quantities},
		"action"),
	"AssociationEvent": common(map[string]rule{"action": action, "parentID": uri, "childEPCs": list(uri, 0, false), "childQuantityList": quantities},
		"action", "parentID"),
	"TransactionEvent": common(map[string]rule{"action": action, "parentID": uri, "epcList": list(uri, 0, false), "quantityList": quantities,
		"bizTransactionList": func(j *judge, path string, v any) {
			transactions(j, path, v)
			list(anything, 1, false)(j, path, v)
		}}, "action", "bizTransactionList"),
	"TransformationEvent": common(map[string]rule{"inputEPCList": epcs, "inputQuantityList": quantities, "outputEPCList": epcs, "outputQuantityList": quantities,
		"transformationID": uri, "persistentDisposition": persistent, "ilmd": extensions}),
}

var documentShape = shape{required: []string{"@context", "type", "schemaVersion", "creationDate", "epcisBody"}, members: map[string]rule{
	"@context": contexts, "id": uri, "type": text, "schemaVersion": matches(`^\d+(\.\d+)*$`, "2.0"), "creationDate": instant,
	"instanceIdentifier": text, "sender": text, "receiver": text, "epcisHeader": header, "epcisBody": anything}}

// header judges master data as far as the schema does; it is not kept.
func header(j *judge, path string, v any) {
	element := of(shape{open: true, required: []string{"id"}, members: map[string]rule{"id": uri, "attributes": list(of(shape{open: true, required: []string{"id"},
		members: map[string]rule{"id": uri}}), 0, false), "children": list(uri, 0, false)}})
	vocabulary := of(shape{open: true, required: []string{"type"}, members: map[string]rule{"type": uri, "vocabularyElementList": list(element, 0, false)}})
	j.object(path, v, shape{members: map[string]rule{"epcisMasterData": of(shape{open: true, members: map[string]rule{"vocabularyList": list(vocabulary, 0, false)}})}})
}

// some reports whether a list is there and not empty.
func (o *object) some(names ...string) bool {
	for _, n := range names {
		if len(o.list(n)) > 0 {
			return true
		}
	}
	return false
}

// event judges one event by itself: what GS1's schema asks of it, across members too.
func (j *judge) judgeEvent(path string, v any) {
	o, ok := v.(*object)
	if !ok {
		j.errorf(path, "", "is %s, want an event", kind(v))
		return
	}
	kind := o.text("type")
	s, ok := eventShapes[kind]
	if !ok {
		j.errorf(member(path, "type"), "ObjectEvent, AggregationEvent, TransactionEvent, TransformationEvent or AssociationEvent", "%.60q is no type of event that is captured here", kind)
		return
	}
	j.object(path, o, s)
	verb := o.text("action")
	switch kind {
	case "ObjectEvent":
		if _, there := o.m["epcList"]; !there && !o.some("quantityList") && (!o.some("sensorElementList") || o.object("readPoint") == nil) {
			j.errorf(path, "epcList, quantityList, or sensorElementList with readPoint", "an event of nothing")
		}
		if o.m["ilmd"] != nil && verb != "ADD" {
			j.errorf(member(path, "ilmd"), "", "only an event that adds has it, this one's action is %q", verb)
		}
	case "AggregationEvent", "AssociationEvent":
		if verb != "DELETE" && !o.some("childEPCs", "childQuantityList") {
			j.errorf(path, "childEPCs or childQuantityList", "no child is named")
		}
	case "TransactionEvent":
		if _, there := o.m["epcList"]; !there && verb != "DELETE" && !o.some("quantityList") {
			j.errorf(path, "epcList or quantityList", "no object is named")
		}
	}
}
