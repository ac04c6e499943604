package document

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of one document.
const (
	MaxSize   = 2 << 20   // bytes of a document
	MaxEvent  = 256 << 10 // bytes of one event as it is kept
	MaxEvents = 1000      // events of a document
	MaxItems  = 8192      // objects in one list of an event
	maxDepth  = 16
	maxValues = 200_000
	maxErrors = 20 // told of at once
)

// An Error is one thing that is wrong with a document.
type Error struct {
	Event int    `json:"event"` // number in the event list, -1: of the document
	Path  string `json:"path"`  // $.epcisBody.eventList[0].epcList[1]
	What  string `json:"what"`
	Hint  string `json:"hint,omitempty"`
}

func (e *Error) Error() string {
	s := e.Path + ": " + e.What
	if e.Hint != "" {
		s += "\nhint: " + e.Hint
	}
	return s
}

// Errors are all that was found wrong, up to a bound.
type Errors []*Error

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, x := range e {
		lines[i] = x.Error()
	}
	return strings.Join(lines, "\n")
}

// object is a JSON object in the order of its members: what is kept of a document
// is written in the order that it came in.
type object struct {
	keys []string
	m    map[string]any // *object, []any, string, json.Number, bool or nil
}

func (o *object) set(key string, v any) {
	if _, had := o.m[key]; !had {
		o.keys = append(o.keys, key)
	}
	o.m[key] = v
}

func (o *object) text(key string) string {
	s, _ := o.m[key].(string)
	return s
}

func (o *object) object(key string) *object {
	v, _ := o.m[key].(*object)
	return v
}

func (o *object) list(key string) []any {
	v, _ := o.m[key].([]any)
	return v
}

// parser reads one JSON text; it belongs to one call.
type parser struct {
	dec    *json.Decoder
	values int
}

func parseJSON(data []byte) (any, *Error) {
	fail := func(path, what, hint string) *Error { return &Error{Event: -1, Path: path, What: what, Hint: hint} }
	if len(data) > MaxSize {
		return nil, fail("$", fmt.Sprintf("document of %d bytes is over the limit of %d", len(data), MaxSize), "send several")
	}
	if !utf8.Valid(data) {
		return nil, fail("$", "the text is not UTF-8", "")
	}
	p := &parser{dec: json.NewDecoder(bytes.NewReader(data))}
	p.dec.UseNumber()
	v, err := p.value("$", 0)
	if err != nil {
		return nil, err
	}
	if _, err := p.dec.Token(); err != io.EOF {
		return nil, fail("$", fmt.Sprintf("something follows the document at byte %d", p.dec.InputOffset()), "")
	}
	return v, nil
}

func (p *parser) fail(path, format string, args ...any) *Error {
	return &Error{Event: -1, Path: path, What: fmt.Sprintf(format, args...)}
}

func (p *parser) value(path string, depth int) (any, *Error) {
	if p.values++; p.values > maxValues {
		return nil, p.fail(path, "more than %d values", maxValues)
	}
	tok, err := p.dec.Token()
	if err != nil {
		return nil, p.fail(path, "no JSON at byte %d: %v", p.dec.InputOffset(), err)
	}
	switch t := tok.(type) {
	case json.Delim:
		if depth >= maxDepth {
			return nil, p.fail(path, "nested deeper than %d", maxDepth)
		}
		if t == '[' {
			return p.array(path, depth)
		}
		return p.object(path, depth)
	case json.Number:
		if f, err := t.Float64(); err != nil || len(t) > 64 {
			return nil, p.fail(path, "number %.20s… does not fit a double (%v)", t, f)
		}
	}
	return tok, nil
}

func (p *parser) array(path string, depth int) (any, *Error) {
	out := []any{}
	for p.dec.More() {
		v, err := p.value(path+"["+strconv.Itoa(len(out))+"]", depth+1)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	if _, err := p.dec.Token(); err != nil {
		return nil, p.fail(path, "the list has no end: %v", err)
	}
	return out, nil
}

func (p *parser) object(path string, depth int) (any, *Error) {
	o := &object{m: map[string]any{}}
	for p.dec.More() {
		tok, err := p.dec.Token()
		if err != nil {
			return nil, p.fail(path, "no JSON at byte %d: %v", p.dec.InputOffset(), err)
		}
		key, _ := tok.(string)
		at := member(path, key)
		if _, twice := o.m[key]; twice {
			return nil, p.fail(at, "member twice")
		}
		v, bad := p.value(at, depth+1)
		if bad != nil {
			return nil, bad
		}
		o.set(key, v)
	}
	if _, err := p.dec.Token(); err != nil {
		return nil, p.fail(path, "the object has no end: %v", err)
	}
	return o, nil
}

// member is the path of an object's member.
func member(path, key string) string {
	for i := range len(key) {
		if c := key[i]; c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return path + "[" + strconv.Quote(key) + "]"
		}
	}
	if key == "" {
		return path + `[""]`
	}
	return path + "." + key
}

// encode writes a value in the order that it came in, without spaces.
func encode(b *bytes.Buffer, v any) {
	switch v := v.(type) {
	case *object:
		b.WriteByte('{')
		for i, k := range v.keys {
			if i > 0 {
				b.WriteByte(',')
			}
			quote(b, k)
			b.WriteByte(':')
			encode(b, v.m[k])
		}
		b.WriteByte('}')
	case []any:
		b.WriteByte('[')
		for i, x := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			encode(b, x)
		}
		b.WriteByte(']')
	case string:
		quote(b, v)
	case json.Number:
		b.WriteString(string(v))
	case bool:
		b.WriteString(strconv.FormatBool(v))
	default:
		b.WriteString("null")
	}
}

func quote(b *bytes.Buffer, s string) {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if e.Encode(s) != nil {
		return // a string always encodes
	}
	b.Truncate(b.Len() - 1) // its line feed
}
