// Package inspect prints Trailmark's files for people to read: CBOR diagnostic
// notation (RFC 8949 section 8) with the names of docs/wire-format.md as
// comments, and embedded CBOR opened in place as <<…>>.
//
// It verifies nothing. It reads damaged files as far as they go and says at
// which byte each damage is; memory is bounded by the file, whatever its heads
// promise. Byte strings and long arrays are shortened unless asked for in full.
package inspect

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"

	"trailmark/statement"
)

// A Kind is a kind of file.
type Kind string

// Kinds of files. Auto looks at the first bytes; CBOR is any CBOR, without names.
const (
	Auto      Kind = "auto"
	Passport  Kind = "passport"
	Trust     Kind = "trust"
	Statement Kind = "statement"
	Receipt   Kind = "receipt"
	Note      Kind = "note"
	Card      Kind = "card" // what a device exported: a CBOR Sequence (RFC 8742)
	CBOR      Kind = "cbor"
)

// Kinds are the kinds that Options.As may name.
func Kinds() []Kind { return []Kind{Auto, Passport, Trust, Statement, Receipt, Note, Card, CBOR} }

// Options say how much to print.
type Options struct {
	As   Kind // "" is Auto
	Full bool // whole byte strings and texts
	All  bool // every element of long arrays
}

// A Damage is what is wrong with a file that was printed as far as it goes.
type Damage struct {
	Places int    // how many
	At     int    // byte offset of the first
	Why    string // of the first
}

func (d *Damage) Error() string {
	if d.Places == 1 {
		return fmt.Sprintf("damaged at byte %d: %s", d.At, d.Why)
	}
	return fmt.Sprintf("damaged in %d places, the first at byte %d: %s", d.Places, d.At, d.Why)
}

// Print writes data in diagnostic notation. The error is a *Damage when data is
// not whole CBOR, else one of w.
func Print(w io.Writer, data []byte, o Options) error {
	kind := o.As
	if kind == "" || kind == Auto {
		kind = guess(data)
	}
	out := bufio.NewWriter(w)
	p := &printer{cursor: cursor{data: data, end: len(data)}, o: o, out: out, ctx: new(context)}
	if kind == Note {
		p.note(data)
		p.put("\n")
	} else {
		p.file(kind)
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if p.damage.Places > 0 {
		return &p.damage
	}
	return nil
}

// file prints the one item of a file and names what follows it.
func (p *printer) file(kind Kind) {
	var f field
	switch kind {
	case Passport:
		f = sub("", passportFile)
	case Trust:
		f = sub("", trust)
	case Statement, Receipt:
		f = cose
	}
	title := string(kind)
	if kind == CBOR {
		title = "cbor of no kind known here"
	}
	p.put(p.comment(fmt.Sprintf("%s, %d bytes", title, p.end)) + "\n")
	if kind == Statement {
		p.put(p.comment(p.join(statementIDs(p.data))) + "\n")
	}
	if kind == Card {
		p.broke(p.sequence())
		return
	}
	err := p.item(f, 0, 0)
	p.put("\n")
	if err == nil && p.pos < p.end {
		err = breaks(p.pos, "%d bytes follow the end", p.end-p.pos)
	}
	p.broke(err)
}

// sequence prints the items of a card file, each on lines of its own.
func (p *printer) sequence() error {
	for n := 0; p.pos < p.end; n++ {
		f := cardItem(n, p.data[p.pos:p.end])
		p.put(p.comment(fmt.Sprintf("item %d at byte %d", n, p.pos)) + "\n")
		p.ctx = new(context)
		if err := p.item(f, 0, 0); err != nil {
			p.put("\n")
			return err
		}
		p.put("\n")
	}
	return nil
}

// cardItem tells the item at the front of data by its place and its first byte.
func cardItem(n int, data []byte) field {
	c := cursor{data: data, end: len(data)}
	switch h, err := c.head(); {
	case err != nil:
		return plain("")
	case n == 0:
		return sub("card", cardHead)
	case h.major == majorTag && h.arg == 18:
		return cose
	case h.major == majorArray && h.arg == 4:
		return sub("message", up)
	case h.major == majorArray && h.arg == 3:
		return sub("checkpoint", cardCheckpoint)
	}
	return plain("")
}

// broke notes a damage and prints it.
func (p *printer) broke(err error) {
	var b *broken
	if !errors.As(err, &b) {
		return
	}
	if p.damage.Places++; p.damage.Places == 1 {
		p.damage.At, p.damage.Why = b.at, b.why
	}
	p.put(p.comment(fmt.Sprintf("breaks at byte %d: %s", b.at, b.why)) + "\n")
}

// guess tells the kind of file from how it begins, so that damage further on
// does not hide it.
func guess(data []byte) Kind {
	c := cursor{data: data, end: len(data)}
	if isNote(data) {
		return Note
	}
	h, err := c.head()
	switch {
	case err != nil:
		return CBOR
	case h.major == majorTag && h.arg == 18:
		// [ protected, { 396: of a receipt
		if _, err := c.head(); err != nil || c.skip(0) != nil {
			return Statement
		}
		if _, err := c.head(); err != nil {
			return Statement
		}
		if h, err = c.head(); err == nil && h.major == majorUint && h.arg == 396 {
			return Receipt
		}
		return Statement
	case h.major == majorArray && h.arg == 3:
		if h, err = c.head(); err == nil && h.major == majorText && bytes.HasPrefix(data[c.pos:], []byte(statement.CardMark)) {
			return Card
		}
		return CBOR
	case h.major != majorMap:
		return CBOR
	}
	// 1: version, 2: [ "gtin" or { of a key
	for range 3 {
		if c.skip(0) != nil {
			return CBOR
		}
	}
	if h, err = c.head(); err != nil || h.major != majorArray {
		return CBOR
	}
	switch h, err = c.head(); {
	case err == nil && h.major == majorText:
		return Passport
	case err == nil && h.major == majorMap:
		return Trust
	}
	return CBOR
}

// isNote reports whether data looks like a signed note, whole or not.
func isNote(data []byte) bool {
	begin := data[:min(len(data), 64)]
	for i := range utf8.UTFMax { // do not fail on a rune that the 64 cut
		if i < len(begin) && utf8.Valid(begin[:len(begin)-i]) {
			return bytes.Count(data[:min(len(data), 512)], []byte("\n")) >= 3 && bytes.IndexFunc(begin[:len(begin)-i], func(r rune) bool { return r < ' ' && r != '\n' }) < 0
		}
	}
	return false
}

var errNotNote = errors.New("not a signed note")

// openNote takes a note apart without any key.
func openNote(data []byte) (*note.Note, error) {
	var unverified *note.UnverifiedNoteError
	if _, err := note.Open(data, note.VerifierList()); !errors.As(err, &unverified) {
		return nil, errNotNote
	}
	return unverified.Note, nil
}
