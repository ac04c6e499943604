package epc

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// A Coding is one way to write a name into a tag's EPC memory, in the spelling
// of the tag URI.
type Coding string

// The codings that say where the company prefix ends. Those with a number of
// 96 hold numeric serials only.
const (
	CodingSGTIN96  Coding = "sgtin-96"
	CodingSGTIN198 Coding = "sgtin-198"
	CodingSSCC96   Coding = "sscc-96"
	CodingSGLN96   Coding = "sgln-96"
	CodingSGLN195  Coding = "sgln-195"
	CodingGRAI96   Coding = "grai-96"
	CodingGRAI170  Coding = "grai-170"
	CodingGIAI96   Coding = "giai-96"
	CodingGIAI202  Coding = "giai-202"
)

// layout is what tells one coding from the next: header:8 filter:3 partition:3,
// then company prefix and reference, serial, zeros. The partition value moves
// the border between company prefix and reference, never their sum.
type layout struct {
	coding Coding
	scheme Scheme
	header uint64
	bits   int  // company prefix and reference together
	serial int  // 0: none
	text   bool // the last field is 7-bit characters, ended by zeros, not a number
	pad    int  // reserved zeros
}

// layouts are those of TDS section 14.6.
func layouts() []layout {
	return []layout{
		{CodingSGTIN96, SGTIN, 0x30, 44, 38, false, 0},
		{CodingSSCC96, SSCC, 0x31, 58, 0, false, 24},
		{CodingSGLN96, SGLN, 0x32, 41, 41, false, 0},
		{CodingGRAI96, GRAI, 0x33, 44, 38, false, 0},
		{CodingGIAI96, GIAI, 0x34, 82, 0, false, 0},
		{CodingSGTIN198, SGTIN, 0x36, 44, 140, true, 0},
		{CodingGRAI170, GRAI, 0x37, 44, 112, true, 0},
		{CodingGIAI202, GIAI, 0x38, 188, 0, true, 0},
		{CodingSGLN195, SGLN, 0x39, 41, 140, true, 0},
	}
}

// size is in bits.
func (l layout) size() int { return 14 + l.bits + l.serial + l.pad }

// bytes is the EPC memory that holds it: whole words of 16 bits.
func (l layout) bytes() int { return (l.size() + 15) / 16 * 2 }

// companyBits is how wide a company prefix of 12-p digits is in partition p.
func companyBits(p int) int { return [7]int{40, 37, 34, 30, 27, 24, 20}[p] }

// Decode reads the EPC memory of a tag of 96 bits: 12 bytes, without PC word
// and CRC.
func Decode(b []byte) (ID, error) {
	if len(b) != 12 {
		return ID{}, fmt.Errorf("epc: %d bytes: want 12 (96 bits)", len(b))
	}
	for _, l := range layouts() {
		if l.header == uint64(b[0]) && l.bytes() == 12 {
			return l.decode(b)
		}
	}
	return ID{}, fmt.Errorf("epc: header %#02x is none of a 96-bit sgtin (0x30), sscc (0x31), sgln (0x32), grai (0x33), giai (0x34)", b[0])
}

func (l layout) decode(b []byte) (ID, error) {
	if len(b) != l.bytes() {
		return ID{}, fmt.Errorf("epc: %s of %d bytes: want %d", l.coding, len(b), l.bytes())
	}
	r := reader{b: b, at: 8}
	id := ID{Scheme: l.scheme, Filter: uint8(r.get(3))}
	g, _ := grammarOf(l.scheme)
	p := int(r.get(3))
	if p > 6 {
		return ID{}, fmt.Errorf("epc: partition %d > 6", p)
	}
	var err error
	if id.CompanyPrefix, err = decimal(r.get(companyBits(p)), 12-p); err != nil {
		return ID{}, fmt.Errorf("epc: company prefix: %w", err)
	}
	rest := l.bits - companyBits(p)
	switch {
	case g.digits > 0:
		if id.Reference, err = decimal(r.get(rest), g.digits-12+p); err != nil {
			return ID{}, fmt.Errorf("epc: reference: %w", err)
		}
	case l.text:
		if id.Reference, err = r.text(rest); err != nil {
			return ID{}, fmt.Errorf("epc: asset reference: %w", err)
		}
	default:
		id.Reference = strconv.FormatUint(r.get(rest), 10)
	}
	switch {
	case l.serial == 0:
	case l.text:
		if id.Serial, err = r.text(l.serial); err != nil {
			return ID{}, fmt.Errorf("epc: serial number: %w", err)
		}
	default:
		id.Serial = strconv.FormatUint(r.get(l.serial), 10)
	}
	if !r.zeros() {
		return ID{}, fmt.Errorf("epc: reserved bits of %X are not all 0", b)
	}
	return id, id.check()
}

// Encode returns the 12 bytes for a tag's EPC memory. Beyond what any ID must
// satisfy, a serial number or asset reference has to be a number without
// leading zeros: below 2^38 for SGTIN and GRAI, 2^41 for SGLN.
func (id ID) Encode() ([]byte, error) {
	for _, l := range layouts() {
		if l.scheme == id.Scheme && !l.text {
			return l.encode(id)
		}
	}
	return nil, id.check()
}

func (l layout) encode(id ID) ([]byte, error) {
	if err := id.check(); err != nil {
		return nil, err
	}
	if id.Scheme != l.scheme {
		return nil, fmt.Errorf("epc: %s is no %s", id.URI(), l.coding)
	}
	g, _ := grammarOf(l.scheme)
	p := 12 - len(id.CompanyPrefix)
	company, err := strconv.ParseUint(id.CompanyPrefix, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("epc: company prefix: %w", err)
	}
	var w writer
	w.put(l.header, 8)
	w.put(uint64(id.Filter), 3)
	w.put(uint64(p), 3)
	w.put(company, companyBits(p))
	rest := l.bits - companyBits(p)
	switch {
	case g.digits > 0:
		v, err := strconv.ParseUint("0"+id.Reference, 10, 64) // no digits are zero
		if err != nil {
			return nil, fmt.Errorf("epc: reference: %w", err)
		}
		w.put(v, rest)
	case l.text:
		w.text(id.Reference, rest)
	default:
		v, err := number("asset reference", id.Reference, rest)
		if err != nil {
			return nil, err
		}
		w.put(v, rest)
	}
	switch {
	case l.serial == 0:
	case l.text:
		w.text(id.Serial, l.serial)
	default:
		v, err := number("serial number", id.Serial, l.serial)
		if err != nil {
			return nil, err
		}
		w.put(v, l.serial)
	}
	w.put(0, l.pad)
	return w.words(), nil
}

// number refuses leading zeros because binary cannot keep them: 007 and 7 are
// two serial numbers, and would become one tag.
func number(what, s string, width int) (uint64, error) {
	if !digits(s) || len(s) > 1 && s[0] == '0' {
		return 0, fmt.Errorf("epc: %s %q does not fit a 96-bit tag\nhint: use digits without a leading zero, or a longer tag", what, s)
	}
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil || bits.Len64(v) > width {
		return 0, fmt.Errorf("epc: %s %s is not below 2^%d\nhint: use a smaller number, or a longer tag", what, s, width)
	}
	return v, nil
}

// decimal pads v to n digits; a value with more digits is no valid field.
func decimal(v uint64, n int) (string, error) {
	s := strconv.FormatUint(v, 10)
	if v == 0 {
		s = "" // also where no digit is left
	}
	if len(s) > n {
		return "", fmt.Errorf("value %d has %d digits > %d", v, len(s), n)
	}
	return strings.Repeat("0", n-len(s)) + s, nil
}

// reader walks bits from the most significant one. What is past the end is 0:
// callers compare sizes before or ask left after.
type reader struct {
	b  []byte
	at int
}

func (r *reader) left() int { return 8*len(r.b) - r.at }

func (r *reader) get(n int) (v uint64) {
	for range n {
		v <<= 1
		if r.at < 8*len(r.b) {
			v |= uint64(r.b[r.at/8] >> (7 - r.at%8) & 1)
		}
		r.at++
	}
	return v
}

// text reads 7-bit characters up to the first zero; the rest of n bits is zero.
func (r *reader) text(n int) (string, error) {
	field := reader{b: r.b, at: r.at}
	r.at += n
	var s []byte
	for n >= 7 {
		c := byte(field.get(7))
		n -= 7
		if c == 0 {
			break
		}
		s = append(s, c)
	}
	for ; n > 0; n-- {
		if field.get(1) != 0 {
			return "", fmt.Errorf("%q is followed by bits that are not all 0", s)
		}
	}
	return string(s), nil
}

// zeros reports whether all that is left is 0.
func (r *reader) zeros() bool {
	for r.left() > 0 {
		if r.get(1) != 0 {
			return false
		}
	}
	return true
}

// writer is the reader's counterpart.
type writer struct {
	b []byte
	n int // bits
}

func (w *writer) put(v uint64, n int) {
	for i := n - 1; i >= 0; i-- {
		if w.n%8 == 0 {
			w.b = append(w.b, 0)
		}
		if i < 64 {
			w.b[w.n/8] |= byte(v>>i&1) << (7 - w.n%8)
		}
		w.n++
	}
}

func (w *writer) text(s string, n int) {
	for i := range len(s) {
		w.put(uint64(s[i]), 7)
	}
	w.put(0, n-7*len(s))
}

// words pads to whole words of 16 bits, the unit of a tag's memory.
func (w *writer) words() []byte {
	w.put(0, (16-w.n%16)%16)
	return w.b
}
