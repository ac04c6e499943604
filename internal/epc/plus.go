package epc

import (
	"fmt"
	"math/big"
	"strings"
)

// The codings of TDS 2: they hold a GS1 key in decimal and a serial of any
// characters, and do not say where the company prefix ends.
const (
	CodingSGTINPlus Coding = "sgtin+"
	CodingSSCCPlus  Coding = "sscc+"
)

const (
	headerSGTINPlus = 0xf7
	headerSSCCPlus  = 0xf9
)

// decodePlus reads header:8 data:1 filter:3, the key in digits of 4 bits, then
// for an SGTIN the serial (TDS 14.5.6). What follows once data is set is left alone.
func decodePlus(b []byte) (Tag, error) {
	r := reader{b: b}
	header := r.get(8)
	t := Tag{Coding: CodingSGTINPlus, Data: r.get(1) == 1, Filter: uint8(r.get(3))}
	n := 14
	if header == headerSSCCPlus {
		t.Coding, n = CodingSSCCPlus, 18
	}
	if r.left() < 4*n {
		return Tag{}, fmt.Errorf("epc: %s of %d bytes is cut short", t.Coding, len(b))
	}
	key := make([]byte, n)
	for i := range key {
		d := r.get(4)
		if d > 9 {
			return Tag{}, fmt.Errorf("epc: %s: digit %d is %d", t.Coding, i+1, d)
		}
		key[i] = byte('0' + d)
	}
	var err error
	if t.Coding == CodingSSCCPlus {
		t.Link.SSCC, err = string(key), CheckSSCC(string(key))
	} else if t.Link.GTIN, err = string(key), checkKey("gtin", string(key), 14); err == nil {
		t.Link.Serial, err = r.variable()
	}
	if err != nil {
		return Tag{}, err
	}
	if !t.Data && (r.left() >= 16 || !r.zeros()) {
		return Tag{}, fmt.Errorf("epc: %s is followed by more than padding, and says that nothing follows", t.Coding)
	}
	return t, nil
}

func encodePlus(t Tag) ([]byte, error) {
	if t.Data {
		return nil, fmt.Errorf("epc: %s has data behind it that is not kept here", t.Coding)
	}
	w := writer{}
	key := t.Link.GTIN
	switch t.Coding {
	case CodingSGTINPlus:
		w.put(headerSGTINPlus, 8)
		if err := checkKey("gtin", key, 14); err != nil {
			return nil, err
		}
		if err := checkSerial(t.Link.Serial); err != nil {
			return nil, err
		}
	default:
		w.put(headerSSCCPlus, 8)
		key = t.Link.SSCC
		if err := CheckSSCC(key); err != nil {
			return nil, err
		}
	}
	w.put(0, 1)
	w.put(uint64(t.Filter), 3)
	for i := range len(key) {
		w.put(uint64(key[i]-'0'), 4)
	}
	if t.Coding == CodingSGTINPlus {
		w.variable(t.Link.Serial)
	}
	return w.words(), nil
}

// The alphabets of TDS 14.5.6, by encoding indicator; a character's place is
// its value. Indicator 0 is one integer, 4 is ASCII of 7 bits, 5 is URN Code 40,
// three characters in 16 bits.
const (
	hexUpper = "0123456789ABCDEF"
	hexLower = "0123456789abcdef"
	fileSafe = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	urn40    = "\x00ABCDEFGHIJKLMNOPQRSTUVWXYZ-.:0123456789"
)

// variable reads indicator:3 length:5 and that many characters.
func (r *reader) variable() (string, error) {
	how, n := r.get(3), int(r.get(5))
	var size int
	var alphabet string
	switch how {
	case 0:
		size = integerBits(n)
	case 1:
		size, alphabet = 4, hexUpper
	case 2:
		size, alphabet = 4, hexLower
	case 3:
		size, alphabet = 6, fileSafe
	case 4:
		size = 7
	case 5:
		return r.code40(n)
	default:
		return "", fmt.Errorf("epc: encoding indicator %d is reserved", how)
	}
	if n > 20 {
		return "", fmt.Errorf("epc: serial number of %d characters > 20", n)
	}
	if how == 0 {
		if r.left() < size {
			return "", fmt.Errorf("epc: serial number of %d digits is cut short", n)
		}
		v := new(big.Int)
		for range size {
			v.Lsh(v, 1).Or(v, big.NewInt(int64(r.get(1))))
		}
		s := v.String()
		if len(s) > n {
			return "", fmt.Errorf("epc: serial number %s has more than %d digits", s, n)
		}
		return strings.Repeat("0", n-len(s)) + s, nil
	}
	if r.left() < n*size {
		return "", fmt.Errorf("epc: serial number of %d characters is cut short", n)
	}
	s := make([]byte, n)
	for i := range s {
		if s[i] = byte(r.get(size)); alphabet != "" {
			s[i] = alphabet[s[i]]
		}
	}
	return string(s), checkSerial(string(s))
}

func (r *reader) code40(n int) (string, error) {
	if n > 20 || r.left() < (n+2)/3*16 {
		return "", fmt.Errorf("epc: serial number of %d characters is cut short or over 20", n)
	}
	var s []byte
	for i := 0; i < n; i += 3 {
		v := r.get(16) - 1
		if v >= 64000 { // also 0, which wrapped
			return "", fmt.Errorf("epc: %d is no group of urn code 40", v+1)
		}
		s = append(s, urn40[v/1600], urn40[v/40%40], urn40[v%40])
	}
	if strings.Trim(string(s[n:]), "\x00") != "" {
		return "", fmt.Errorf("epc: serial number has characters behind its length of %d", n)
	}
	return string(s[:n]), checkSerial(string(s[:n]))
}

// variable writes s in the shortest of the ways that hold it.
func (w *writer) variable(s string) {
	best, how := 8*len(s), uint64(4)
	within := func(alphabet string) bool { return strings.Trim(s, alphabet) == "" }
	for _, way := range []struct {
		how      uint64
		alphabet string
		size     int
	}{{0, "0123456789", integerBits(len(s))}, {1, hexUpper, 4 * len(s)}, {2, hexLower, 4 * len(s)},
		{5, urn40[1:], (len(s) + 2) / 3 * 16}, {3, fileSafe, 6 * len(s)}} {
		if way.size < best && within(way.alphabet) {
			best, how = way.size, way.how
		}
	}
	w.put(how, 3)
	w.put(uint64(len(s)), 5)
	each := func(alphabet string, size int) {
		for i := range len(s) {
			w.put(uint64(strings.IndexByte(alphabet, s[i])), size)
		}
	}
	switch how {
	case 0:
		v, _ := new(big.Int).SetString(s, 10)
		for i := integerBits(len(s)) - 1; i >= 0; i-- {
			w.put(uint64(v.Bit(i)), 1)
		}
	case 1:
		each(hexUpper, 4)
	case 2:
		each(hexLower, 4)
	case 3:
		each(fileSafe, 6)
	case 4:
		for i := range len(s) {
			w.put(uint64(s[i]), 7)
		}
	case 5:
		for i := 0; i < len(s); i += 3 {
			v := 0
			for j := i; j < i+3; j++ {
				v *= 40
				if j < len(s) {
					v += strings.IndexByte(urn40, s[j])
				}
			}
			w.put(uint64(v+1), 16)
		}
	}
}

// integerBits is the width of any integer of n digits: ceil(n·log2 10).
func integerBits(n int) int {
	ten := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
	return ten.Sub(ten, big.NewInt(1)).BitLen()
}
