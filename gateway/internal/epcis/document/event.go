package document

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"trailmark/statement"
)

// Context is GS1's JSON-LD context of EPCIS 2.0. It is named and never fetched.
const Context = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"

// Prefix is what "trailmark:" stands for in our own extensions.
const Prefix = "urn:trailmark:"

// tagsMember is the extension of ilmd that tells tags' TIDs on commissioning: a
// list of objects with epc and tid (hex), all three names below Prefix.
const tagsMember = "tags"

// An Event is one EPCIS event that was found right.
type Event struct {
	ID          string // eventID, its own or the hash that stands in for it
	Hash        string // CBV 2.0 hash id: the same for two spellings of one event
	Type        string
	Verb        string // action of the standard; "" of a TransformationEvent
	At          time.Time
	Disposition string
	ReadPoint   string // canonical, "" for none
	BizLocation string
	Parent      string // "" for none
	Declares    string // reason of an errorDeclaration, "" for none; see IsError
	Sensors     bool   // somebody's word on measurements: "declared"
	Members     Members

	declaration string // its declarationTime
	doc         []byte
}

// Members are what the event's statement says, and no more.
type Members struct {
	Action        statement.Action
	At            int64 // ms
	Place         string
	Step          string
	Named         []string // parent
	Items, Inputs []Object
}

// An Object is one object of an event's list.
type Object struct {
	Name string
	TID  []byte // of its tag, on commissioning only
}

// IsError reports whether the event declares an earlier one with its id to be wrong.
func (e *Event) IsError() bool { return e.declaration != "" }

// Document is the event as it is kept: JSON-LD that stands by itself, in the order
// that it came in, with its eventID and without a recordTime, which is the
// gateway's to say.
func (e *Event) Document() []byte { return e.doc }

// One is what was found of one event of a list: an Event, or why there is none.
type One struct {
	Event  *Event
	Errors Errors
}

// Parse reads an EPCISDocument or a single event. An error is about the document;
// each event is judged by itself.
func Parse(data []byte) ([]One, error) {
	v, bad := parseJSON(data)
	if bad != nil {
		return nil, Errors{bad}
	}
	j := &judge{event: -1}
	root, ok := v.(*object)
	if !ok {
		return nil, Errors{{Event: -1, Path: "$", What: "is " + kind(v) + ", want an object"}}
	}
	if root.text("type") != "EPCISDocument" {
		if _, ok := root.m["@context"]; !ok {
			hint := ""
			if _, typed := eventShapes[root.text("type")]; !typed {
				hint = "an EPCISDocument, or one event with a context"
			}
			return nil, Errors{{Event: -1, Path: "$", What: `member "@context" is missing`, Hint: hint}}
		}
		return []One{judgeOne(0, "$", root, nil)}, nil
	}
	j.object("$", root, documentShape)
	body := root.object("epcisBody")
	events, isList := []any(nil), false
	if body != nil {
		events, isList = body.m["eventList"].([]any)
	}
	switch {
	case !isList:
		j.errorf("$.epcisBody.eventList", "", "is no list")
	case len(events) > MaxEvents:
		j.errorf("$.epcisBody.eventList", "send several documents", "%d events, the most are %d", len(events), MaxEvents)
	}
	if len(j.errors) > 0 {
		return nil, j.errors
	}
	out := make([]One, len(events))
	for i, e := range events {
		out[i] = judgeOne(i, fmt.Sprintf("$.epcisBody.eventList[%d]", i), e, root.m["@context"])
	}
	return out, nil
}

// ParseEvent reads an event as Document gives it.
func ParseEvent(data []byte) (*Event, error) {
	all, err := Parse(data)
	if err != nil {
		return nil, err
	}
	if len(all) != 1 {
		return nil, fmt.Errorf("%d events, want one", len(all))
	}
	if len(all[0].Errors) > 0 {
		return nil, all[0].Errors
	}
	return all[0].Event, nil
}

func judgeOne(n int, path string, v any, context any) One {
	j := &judge{event: n}
	j.judgeEvent(path, v)
	if len(j.errors) > 0 {
		return One{Errors: j.errors}
	}
	o := v.(*object)
	around := contextOf(context, o.m["@context"])
	e := j.read(path, o, prefixes(around))
	if len(j.errors) > 0 {
		return One{Errors: j.errors}
	}
	kept := &object{m: map[string]any{}}
	kept.set("@context", around)
	for _, k := range o.keys {
		if k != "@context" && k != "recordTime" {
			kept.set(k, o.m[k])
		}
	}
	kept.set("eventID", e.ID)
	var b bytes.Buffer
	encode(&b, kept)
	if b.Len() > MaxEvent {
		j.errorf(path, "divide the event", "%d bytes, the most are %d", b.Len(), MaxEvent)
		return One{Errors: j.errors}
	}
	e.doc = b.Bytes()
	return One{Event: e}
}

// contextOf is a document's context and an event's own one after the other.
func contextOf(outer, inner any) any {
	if outer == nil || inner == nil {
		if outer == nil {
			return inner
		}
		return outer
	}
	var all []any
	for _, c := range []any{outer, inner} {
		if l, ok := c.([]any); ok {
			all = append(all, l...)
		} else {
			all = append(all, c)
		}
	}
	return all
}

// prefixes are those that a context defines, and the standard's own.
func prefixes(context any) map[string]string {
	m := maps.Clone(defaultPrefixes)
	all, ok := context.([]any)
	if !ok {
		all = []any{context}
	}
	for _, c := range all {
		o, ok := c.(*object)
		if !ok {
			continue
		}
		for _, k := range o.keys {
			if s, ok := o.m[k].(string); ok && !strings.HasPrefix(k, "@") {
				m[k] = s
			} else if term, ok := o.m[k].(*object); ok && term.text("@id") != "" {
				m[k] = term.text("@id")
			}
		}
	}
	return m
}

// read takes from a right event what is asked of it further on.
func (j *judge) read(path string, o *object, prefixes map[string]string) *Event {
	at, err := parseTime(o.text("eventTime"))
	at = at.Round(time.Millisecond)
	if err != nil || at.UnixMilli() < 0 || at.UnixMilli() >= 1<<48 {
		j.errorf(member(path, "eventTime"), "", "%s is before 1970 or too late to sign", o.text("eventTime"))
		return nil
	}
	e := &Event{Hash: hashID(o, prefixes), ID: o.text("eventID"), Type: o.text("type"), Verb: o.text("action"), At: at,
		Disposition: ShortDisposition(o.text("disposition")), Sensors: o.some("sensorElementList")}
	if e.ID == "" {
		e.ID = e.Hash
	}
	if len(e.ID) > 512 {
		j.errorf(member(path, "eventID"), "", "%d bytes, the most are 512", len(e.ID))
	}
	if d := o.object("errorDeclaration"); d != nil {
		e.declaration, e.Declares = d.text("declarationTime"), d.text("reason")
	}
	for name, into := range map[string]*string{"readPoint": &e.ReadPoint, "bizLocation": &e.BizLocation} {
		if p := o.object(name); p != nil {
			if *into = Canonical(p.text("id")); len(*into) > 256 {
				j.errorf(member(path, name), "", "a name of %d bytes, the longest that is signed has 256", len(*into))
			}
		}
	}
	e.Members = j.members(path, o, e, prefixes)
	return e
}

// members says what is signed of an event. Where this is stricter than the
// standard, it is because a signature must name what it is about.
func (j *judge) members(path string, o *object, e *Event, prefixes map[string]string) Members {
	m := Members{At: e.At.UnixMilli(), Place: e.ReadPoint, Step: ShortStep(o.text("bizStep")), Action: statement.Observe}
	if m.Place == "" {
		m.Place = e.BizLocation
	}
	if len(m.Step) > 256 {
		j.errorf(member(path, "bizStep"), "", "%d bytes, the most that is signed is 256", len(m.Step))
	}
	tids, ok := j.tids(path, o, prefixes)
	verb := e.Verb
	switch {
	case e.IsError(): // it undoes nothing: what is right comes as further events
	case e.Type == "ObjectEvent" && verb == "ADD":
		m.Action = statement.Commission
	case e.Type == "ObjectEvent" && verb == "DELETE":
		m.Action = statement.Decommission
	case e.Type == "AggregationEvent" && verb == "ADD":
		m.Action = statement.Pack
	case e.Type == "AggregationEvent" && verb == "DELETE":
		m.Action = statement.Unpack
	case e.Type == "TransformationEvent":
		m.Action = statement.Transform
	}
	if e.IsError() {
		tids = nil // they were told with what it declares to be wrong
	}
	if ok && len(tids) > 0 && m.Action != statement.Commission {
		j.errorf(member(path, "ilmd"), "", "tags' TIDs are told when their objects are commissioned only")
	}
	parent := o.text("parentID")
	switch e.Type {
	case "ObjectEvent", "TransactionEvent":
		m.Items = j.objects(path, o, nil, "epcList", "quantityList")
	case "AggregationEvent", "AssociationEvent":
		m.Items = j.objects(path, o, nil, "childEPCs", "childQuantityList")
	case "TransformationEvent":
		m.Items = j.objects(path, o, nil, "outputEPCList", "outputQuantityList")
		m.Inputs = j.objects(path, o, nil, "inputEPCList", "inputQuantityList")
		if len(m.Items) == 0 || len(m.Inputs) == 0 {
			j.errorf(path, "a signed transformation names both in one event; a transformationID does not stand for what is missing",
				"%d inputs and %d outputs", len(m.Inputs), len(m.Items))
		}
		if m.Action != statement.Transform {
			m.Items, m.Inputs = append(m.Inputs, m.Items...), nil
		}
	}
	j.distinct(path, parent, &m)
	if parent != "" {
		name, err := ObjectName(parent)
		if err != nil {
			j.errorf(member(path, "parentID"), "", "%v", err)
		}
		if e.Parent = name; m.Action == statement.Pack || m.Action == statement.Unpack {
			m.Named = []string{name}
		} else {
			m.Items = append([]Object{{Name: name}}, m.Items...)
		}
	} else if m.Action == statement.Pack || m.Action == statement.Unpack {
		j.errorf(path, "parentID names the case or pallet", "an aggregation that is %s has no parent", strings.ToLower(verb))
	}
	if len(m.Items)+len(m.Named) == 0 {
		m.Items = j.instead(o, e)
		if len(m.Items) == 0 {
			j.errorf(path, "", "nothing is named that a statement could be about")
		}
	}
	for i, x := range m.Items {
		m.Items[i].TID = tids[x.Name]
		delete(tids, x.Name)
	}
	for name := range tids {
		j.errorf(member(path, "ilmd"), "", "a TID is told of %s, which this event does not name", name)
	}
	return m
}

// instead is what an event without objects is about: its business transactions,
// or the place that a sensor reports of.
func (j *judge) instead(o *object, e *Event) (out []Object) {
	for _, t := range o.list("bizTransactionList") {
		if t, ok := t.(*object); ok && e.Type == "TransactionEvent" {
			if name, err := ObjectName(t.text("bizTransaction")); err == nil {
				out = append(out, Object{Name: name})
			}
		}
	}
	for _, place := range []string{e.ReadPoint, e.BizLocation} {
		if len(out) == 0 && place != "" {
			out = append(out, Object{Name: place})
		}
	}
	return out
}

// objects names what is in an event's lists of EPCs and of quantities.
func (j *judge) objects(path string, o *object, out []Object, names ...string) []Object {
	for _, list := range names {
		for i, v := range o.list(list) {
			at := fmt.Sprintf("%s[%d]", member(path, list), i)
			s, ok := v.(string)
			if q, class := v.(*object); class {
				s, ok, at = q.text("epcClass"), true, member(at, "epcClass")
			}
			if !ok {
				continue
			}
			name, err := ObjectName(s)
			if err != nil {
				j.errorf(at, "", "%v", err)
				continue
			}
			out = append(out, Object{Name: name})
		}
	}
	if len(out) > MaxItems {
		j.errorf(path, "divide the event", "%d objects, the most are %d", len(out), MaxItems)
	}
	return out
}

// distinct refuses an object that is in an event twice: its chain of events would
// fork. Of a class there may be several quantities, which are one object.
func (j *judge) distinct(path, parent string, m *Members) {
	parent, _ = ObjectName(parent) // a bad one was told of
	seen := map[string]string{}
	if parent != "" {
		seen[parent] = "the parent"
	}
	for _, l := range []struct {
		list *[]Object
		what string
	}{{&m.Inputs, "an input"}, {&m.Items, "listed"}} {
		kept := (*l.list)[:0]
		for _, x := range *l.list {
			switch was := seen[x.Name]; {
			case was == "":
				seen[x.Name] = l.what
				kept = append(kept, x)
			case was != l.what:
				j.errorf(path, "give it once", "%s is %s and %s", x.Name, was, l.what)
			}
		}
		*l.list = kept
	}
}

// tids are the TIDs that ilmd tells, by the objects' names.
func (j *judge) tids(path string, o *object, prefixes map[string]string) (map[string][]byte, bool) {
	h := &hasher{prefixes}
	own := func(o *object, name string) (any, string) {
		if o != nil {
			for _, k := range o.keys {
				if ns, local := h.expand(k); ns+local == Prefix+name {
					return o.m[k], k
				}
			}
		}
		return nil, name
	}
	v, key := own(o.object("ilmd"), tagsMember)
	if v == nil {
		return nil, true
	}
	at := member(member(path, "ilmd"), key)
	l, ok := v.([]any)
	if !ok {
		l = []any{v}
	}
	out := map[string][]byte{}
	for i, x := range l {
		one, _ := x.(*object)
		epc, _ := own(one, "epc")
		tid, _ := own(one, "tid")
		s, _ := epc.(string)
		name, err := ObjectName(s)
		h, _ := tid.(string)
		b, err2 := hex.DecodeString(h)
		if err = errors.Join(err, err2); err == nil && (len(b) < 4 || len(b) > 64 || out[name] != nil) {
			err = fmt.Errorf("TID of %d bytes, want 4 to 64, one of an object", len(b))
		}
		if err != nil {
			j.errorf(fmt.Sprintf("%s[%d]", at, i), `{"trailmark:epc": "urn:epc:id:sgtin:…", "trailmark:tid": "E280116020000000"}`, "%v", err)
			return nil, false
		}
		out[name] = b
	}
	return out, true
}

// ShortStep is a business step's short name where it has one, else the name as it is.
func ShortStep(s string) string { return shortName(s, "BizStep-", bizSteps) }

// ShortDisposition is a disposition's short name where it has one.
func ShortDisposition(s string) string { return shortName(s, "Disp-", dispositions) }

func shortName(s, kind string, known map[string]bool) string {
	for _, p := range []string{cbv, "cbv:"} {
		if rest, ok := strings.CutPrefix(s, p+kind); ok && known[rest] {
			return rest
		}
	}
	return s
}

// WithRecordTime is a kept document with the time at which the gateway took it.
func WithRecordTime(doc []byte, received time.Time) (json.RawMessage, error) {
	v, bad := parseJSON(doc)
	if bad != nil {
		return nil, fmt.Errorf("kept document: %w", bad)
	}
	o, ok := v.(*object)
	if !ok {
		return nil, errors.New("kept document is no object")
	}
	o.set("recordTime", received.UTC().Format("2006-01-02T15:04:05.000Z"))
	var b bytes.Buffer
	encode(&b, o)
	return b.Bytes(), nil
}
