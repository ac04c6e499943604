package epc

import (
	"fmt"
	"strings"
)

// A Tag is what a tag's EPC memory says. DecodeTag, ParseTagURI, ID.Tag and
// Link.Tag give valid ones.
type Tag struct {
	Coding Coding
	Filter uint8 // 0..7
	ID     ID    // with the same Filter; zero for the "+" codings, which do not say where the company prefix ends
	Link   Link  // what every coding says
	// Data: a "+" coding is followed by further application identifiers. They are
	// left in the memory.
	Data bool
}

// DecodeTag reads EPC memory in any of the codings, without PC word and CRC.
// Its length in bytes is that of the PC word: even.
func DecodeTag(b []byte) (Tag, error) {
	if len(b) < 2 || len(b) > 62 { // the PC word counts up to 31 words
		return Tag{}, fmt.Errorf("epc: %d bytes: want 2 to 62", len(b))
	}
	if b[0] == headerSGTINPlus || b[0] == headerSSCCPlus {
		return decodePlus(b)
	}
	for _, l := range layouts() {
		if l.header == uint64(b[0]) {
			id, err := l.decode(b)
			if err != nil {
				return Tag{}, err
			}
			return Tag{Coding: l.coding, Filter: id.Filter, ID: id, Link: id.Link()}, nil
		}
	}
	return Tag{}, fmt.Errorf("epc: header %#02x names no coding known here", b[0])
}

// Encode returns the memory, in whole words of 16 bits.
func (t Tag) Encode() ([]byte, error) {
	if t.Filter > 7 {
		return nil, fmt.Errorf("epc: filter %d > 7", t.Filter)
	}
	if t.Coding == CodingSGTINPlus || t.Coding == CodingSSCCPlus {
		return encodePlus(t)
	}
	for _, l := range layouts() {
		if l.coding == t.Coding {
			if t.ID.Filter != t.Filter {
				return nil, fmt.Errorf("epc: filter %d of the tag is not filter %d of its name", t.Filter, t.ID.Filter)
			}
			return l.encode(t.ID)
		}
	}
	return nil, fmt.Errorf("epc: coding %q is not known here", t.Coding)
}

// Tag writes id in a coding that says where its company prefix ends.
func (id ID) Tag(c Coding) (Tag, error) {
	t := Tag{Coding: c, Filter: id.Filter, ID: id, Link: id.Link()}
	_, err := t.Encode()
	if err != nil {
		return Tag{}, err
	}
	return t, nil
}

// Tag writes a trade item with a serial number, or a logistic unit, in its "+" coding.
func (l Link) Tag(filter uint8) (Tag, error) {
	t := Tag{Coding: CodingSGTINPlus, Filter: filter, Link: l}
	if l.SSCC != "" {
		t.Coding = CodingSSCCPlus
	}
	if _, err := t.Encode(); err != nil {
		return Tag{}, err
	}
	return t, nil
}

// URI returns the tag URI, such as urn:epc:tag:sgtin-96:3.0614141.812345.6789,
// "" where the coding has none: the "+" codings have their Digital Link only.
func (t Tag) URI() string {
	if _, err := t.Encode(); err != nil || t.ID == (ID{}) {
		return ""
	}
	return fmt.Sprintf("urn:epc:tag:%s:%d.%s", t.Coding, t.Filter, t.ID.fields())
}

// ParseTagURI reads a tag URI.
func ParseTagURI(s string) (Tag, error) {
	if len(s) > 128 {
		return Tag{}, fmt.Errorf("epc: uri of %d bytes > 128", len(s))
	}
	rest, ok := strings.CutPrefix(s, "urn:epc:tag:")
	coding, rest, ok2 := strings.Cut(rest, ":")
	filter, rest, ok3 := strings.Cut(rest, ".")
	if !ok || !ok2 || !ok3 || len(filter) != 1 || filter[0] < '0' || filter[0] > '7' {
		return Tag{}, fmt.Errorf("epc: %q is no tag uri\nhint: it looks like urn:epc:tag:sgtin-96:3.0614141.812345.6789", s)
	}
	for _, l := range layouts() {
		if l.coding != Coding(coding) {
			continue
		}
		id, err := fields(l.scheme, rest)
		if err != nil {
			return Tag{}, fmt.Errorf("%w, in %q", err, s)
		}
		id.Filter = filter[0] - '0'
		t, err := id.Tag(l.coding)
		if err == nil && t.URI() != s {
			err = fmt.Errorf("epc: %q is not spelled as %q", s, t.URI())
		}
		if err != nil {
			return Tag{}, err
		}
		return t, nil
	}
	return Tag{}, fmt.Errorf("epc: coding %q of a tag uri is not known here", coding)
}
