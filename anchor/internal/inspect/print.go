package inspect

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"trailmark/statement"
)

const (
	maxDepth = 32  // of arrays, maps, tags and embedded items together
	width    = 110 // columns that an item on one line may take
	many     = 32  // elements printed of a longer array
	longText = 160 // bytes printed of a longer text
)

// errWide ends an attempt to put an item on one line.
var errWide = errors.New("too wide for one line")

// writer is what the printer needs of its output.
type writer interface {
	WriteString(string) (int, error)
}

// A printer walks one file. Only the goroutine that called Print uses it.
type printer struct {
	cursor
	o      Options
	out    writer
	ctx    *context
	damage Damage
	room   int // columns left on one line, 0: lines may be broken
	wide   bool
}

// put writes s; errors of the output stay in it until the final Flush.
func (p *printer) put(s string) {
	if p.room > 0 {
		if len(s) >= p.room {
			p.wide = true
			return
		}
		p.room -= len(s)
	}
	_, _ = p.out.WriteString(s)
}

// oneLine prints the item at pos on one line if that is short and whole.
func (p *printer) oneLine(f field, indent, depth int) bool {
	var line strings.Builder
	q := &printer{cursor: p.cursor, o: p.o, out: &line, ctx: p.ctx, room: max(width-2*indent, 48)}
	if err := q.item(f, indent, depth); err != nil || q.wide || q.damage.Places > 0 {
		return false
	}
	p.pos = q.pos
	p.put(line.String())
	return true
}

// item prints the item at pos as f says.
func (p *printer) item(f field, indent, depth int) error {
	if p.wide {
		return errWide
	}
	if f.by != nil {
		f = f.by(p.ctx)
	}
	h, err := p.head()
	if err != nil {
		return err
	}
	if depth > maxDepth {
		return breaks(h.at, "nested deeper than %d", maxDepth)
	}
	if h.major != majorArray && h.major != majorMap {
		p.shortest(h)
	}
	switch h.major {
	case majorUint, majorNint:
		p.integer(f, h)
	case majorBytes:
		return p.bytes(f, h, indent, depth)
	case majorText:
		return p.text(f, h)
	case majorArray, majorMap:
		if p.room == 0 && h.arg > 0 {
			p.pos = h.at
			if p.oneLine(f, indent, depth) {
				return nil
			}
			if _, err = p.head(); err != nil {
				return err
			}
		}
		p.shortest(h)
		if h.major == majorMap {
			return p.pairs(f, h, indent, depth)
		}
		return p.elements(f, h, indent, depth)
	case majorTag:
		p.put(strconv.FormatUint(h.arg, 10) + "(")
		if err := p.item(f, indent, depth+1); err != nil {
			return err
		}
		p.put(")")
	default:
		p.simple(h)
	}
	return nil
}

func (p *printer) shortest(h head) {
	if h.long {
		p.put(p.comment("not its shortest form") + " ")
	}
}

func (p *printer) integer(f field, h head) {
	var s string
	switch {
	case h.major == majorUint:
		s = strconv.FormatUint(h.arg, 10)
	case h.arg == math.MaxUint64:
		s = "-18446744073709551616"
	default:
		s = "-" + strconv.FormatUint(h.arg+1, 10)
	}
	if f.set != nil {
		f.set(p.ctx, h, "")
	}
	p.put(s)
	if f.say == nil || h.arg > math.MaxInt64 {
		return
	}
	n := int64(h.arg)
	if h.major == majorNint {
		n = -1 - n
	}
	if what := f.say(n); what != "" {
		p.put(" " + p.comment(what))
	}
}

func (p *printer) text(f field, h head) error {
	b, err := p.content(h)
	if err != nil {
		return err
	}
	if f.set != nil {
		f.set(p.ctx, h, string(b))
	}
	short := clip(b, p.o.Full)
	p.put(quote(string(short), '"'))
	if len(short) < len(b) {
		p.put(" " + p.comment(fmt.Sprintf("%d bytes", len(b))))
	}
	if !utf8.Valid(b) {
		p.put(" " + p.comment("not utf-8"))
	}
	return nil
}

func (p *printer) bytes(f field, h head, indent, depth int) error {
	b, err := p.content(h)
	if err != nil {
		return err
	}
	if f.about != nil {
		p.abouts(f.about(b))
	}
	one := f.one
	if f.embed != nil {
		one = &field{of: f.embed}
	}
	switch {
	case one != nil && len(b) > 0:
		return p.embedded(*one, len(b), indent, depth)
	case f.text:
		short := clip(b, p.o.Full)
		p.put(quote(string(short), '\''))
		if len(short) < len(b) {
			p.put(" " + p.comment(fmt.Sprintf("%d bytes", len(b))))
		}
	case p.room > 0 && p.o.Full && len(b) > width:
		p.wide = true
	default:
		p.put(p.hex(b))
	}
	return nil
}

// embedded opens the n bytes before pos as an item of their own. Damage in them
// does not end the item around them, whose length is known.
func (p *printer) embedded(f field, n, indent, depth int) error {
	after, end := p.pos, p.end
	p.pos, p.end = after-n, after
	p.put("<<")
	err := p.item(f, indent, depth+1)
	if err == nil && p.pos < p.end {
		err = breaks(p.pos, "%d bytes follow the end of the embedded item", p.end-p.pos)
	}
	var b *broken
	if errors.As(err, &b) {
		if p.room > 0 {
			return err // show it on lines of its own
		}
		p.put("\n" + strings.Repeat("  ", indent))
		p.broke(err)
		p.put(strings.Repeat("  ", indent))
		err = nil
	}
	p.pos, p.end = after, end
	p.put(">>")
	return err
}

func (p *printer) elements(f field, h head, indent, depth int) error {
	s := f.of
	if s == nil {
		s = &shape{}
	}
	p.put("[")
	shown := h.arg
	if !p.o.All {
		shown = min(h.arg, many)
	}
	for i := range shown {
		e := field{}
		switch {
		case i < uint64(len(s.items)):
			e = s.items[i]
		case s.each != nil:
			if e = *s.each; e.name != "" {
				e.name += " " + strconv.FormatUint(i, 10)
			}
		}
		p.separate(i, indent+1)
		if e.name != "" {
			p.put(p.comment(e.name) + " ")
		}
		p.mapAbout(e)
		if err := p.item(e, indent+1, depth+1); err != nil {
			return err
		}
	}
	if shown < h.arg {
		from := p.pos
		for range h.arg - shown {
			if err := p.skip(depth + 1); err != nil {
				return err
			}
		}
		if p.room > 0 {
			p.put(" ")
		}
		p.newline(indent + 1)
		p.put(p.comment(fmt.Sprintf("%d more, bytes %d to %d", h.arg-shown, from, p.pos)))
	}
	p.newlineIf(h.arg > 0, indent)
	p.put("]")
	return nil
}

func (p *printer) pairs(f field, h head, indent, depth int) error {
	p.put("{")
	for i := range h.arg {
		p.separate(i, indent+1)
		at := p.pos
		k, err := p.head()
		if err != nil {
			return err
		}
		p.pos = at
		n := int64(min(k.arg, math.MaxInt64))
		if k.major == majorNint {
			n = -1 - n
		}
		if err := p.item(field{}, indent+1, depth+1); err != nil {
			return err
		}
		p.put(": ")
		e, known := field{}, false
		if f.of != nil && k.major <= majorNint {
			e, known = f.of.keys[n]
		}
		if e.by != nil && e.name == "" { // even its name depends on what came before
			e = e.by(p.ctx)
		}
		switch {
		case e.name != "":
			p.put(p.comment(e.name) + " ")
		case f.of != nil && f.of.keys != nil && !known:
			p.put(p.comment("a key that the wire format does not have") + " ")
		}
		p.mapAbout(e)
		if err := p.item(e, indent+1, depth+1); err != nil {
			return err
		}
	}
	p.newlineIf(h.arg > 0, indent)
	p.put("}")
	return nil
}

// mapAbout says what there is to say of a map or array as a whole, before it.
func (p *printer) mapAbout(f field) {
	if f.about == nil || p.pos >= p.end || p.data[p.pos]>>5 == majorBytes {
		return // of a byte string it is said once its content is known
	}
	c := p.cursor
	if c.skip(0) == nil {
		p.abouts(f.about(p.data[p.pos:c.pos]))
	}
}

func (p *printer) separate(i uint64, indent int) {
	if i > 0 {
		p.put(",")
		if p.room > 0 {
			p.put(" ")
		}
	}
	p.newline(indent)
}

// newline breaks the line, unless everything is to be on one.
func (p *printer) newline(indent int) {
	if p.room == 0 {
		p.put("\n" + strings.Repeat("  ", indent))
	}
}

func (p *printer) newlineIf(cond bool, indent int) {
	if cond {
		p.newline(indent)
	}
}

func (p *printer) simple(h head) {
	switch {
	case h.info == 20:
		p.put("false")
	case h.info == 21:
		p.put("true")
	case h.info == 22:
		p.put("null")
	case h.info == 23:
		p.put("undefined")
	case h.info < 25:
		p.put(fmt.Sprintf("simple(%d)", h.arg))
	default:
		p.put(fmt.Sprintf("h'%x' %s", p.data[h.at:p.pos], p.comment("a floating-point number, which the wire format does not have")))
	}
}

func (p *printer) abouts(ids []ident) { p.put(p.comment(p.join(ids)) + " ") }

func (p *printer) join(ids []ident) string {
	words := make([]string, len(ids))
	for i, id := range ids {
		words[i] = id.word
		if id.hash != nil {
			words[i] += " " + p.digits(id.hash)
		}
	}
	return strings.Join(words, ", ")
}

// comment is a comment of diagnostic notation, whatever the words are.
func (p *printer) comment(words string) string {
	return "/ " + strings.Map(func(r rune) rune {
		switch {
		case r == '/':
			return '∕' // a slash would end the comment
		case !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, words) + " /"
}

// digits is a hash in hex, shortened unless all is wanted.
func (p *printer) digits(b []byte) string {
	if p.o.Full || len(b) <= 16 {
		return hex.EncodeToString(b)
	}
	return hex.EncodeToString(b[:8]) + "…"
}

// hex is a byte string, with its length where it is shortened.
func (p *printer) hex(b []byte) string {
	s := "h'" + p.digits(b) + "'"
	switch {
	case len(b) == 32 && bytes.Equal(b, make([]byte, 32)):
		return s + " " + p.comment("zeros: none")
	case len(b) > 16 && len(b) != 32 && !p.o.Full:
		return s + " " + p.comment(fmt.Sprintf("%d bytes", len(b)))
	}
	return s
}

func clip(b []byte, full bool) []byte {
	if full || len(b) <= longText {
		return b
	}
	b = b[:longText]
	for len(b) > 0 && !utf8.RuneStart(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	if n := len(b); n > 0 && b[n-1] >= utf8.RuneSelf {
		b = b[:n-1]
	}
	return b
}

// quote writes a text as JSON does, and escapes what a terminal might act on.
func quote(s string, mark rune) string {
	var b strings.Builder
	b.WriteRune(mark)
	for _, r := range s {
		switch {
		case r == mark || r == '\\':
			b.WriteRune('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	b.WriteRune(mark)
	return b.String()
}

// kindOf is the kind that a typ header names.
func kindOf(typ string) statement.Kind {
	return statement.Kind(strings.TrimSuffix(strings.TrimPrefix(typ, "application/vnd.trailmark."), "+cbor"))
}
