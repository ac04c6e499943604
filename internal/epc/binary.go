package epc

import (
	"fmt"
	"strconv"
)

// size is what every scheme here fills: 96 bits.
const size = 12

// companyBits is how wide a company prefix of 12-p digits is in partition p.
func companyBits(p int) int { return [7]int{40, 37, 34, 30, 27, 24, 20}[p] }

// Decode reads the EPC memory of a tag: 12 bytes, without PC word and CRC.
func Decode(b []byte) (ID, error) {
	if len(b) != size {
		return ID{}, fmt.Errorf("epc: %d bytes: want %d (96 bits)", len(b), size)
	}
	w := bits{b: [size]byte(b)}
	header := w.get(8)
	for _, l := range layouts() {
		if l.header == header {
			return l.decode(&w)
		}
	}
	return ID{}, fmt.Errorf("epc: header %#02x is neither sgtin-96 (0x30) nor sscc-96 (0x31)", header)
}

func (l layout) decode(w *bits) (ID, error) {
	id := ID{Scheme: l.scheme, Filter: uint8(w.get(3))}
	p := int(w.get(3))
	if p > 6 {
		return ID{}, fmt.Errorf("epc: partition %d > 6", p)
	}
	var err error
	if id.CompanyPrefix, err = decimal(w.get(companyBits(p)), 12-p); err != nil {
		return ID{}, fmt.Errorf("epc: company prefix: %w", err)
	}
	if id.Reference, err = decimal(w.get(l.bits-companyBits(p)), l.digits-12+p); err != nil {
		return ID{}, fmt.Errorf("epc: reference: %w", err)
	}
	if l.serialBits > 0 {
		id.Serial = strconv.FormatUint(w.get(l.serialBits), 10)
	}
	if pad := w.get(l.padBits); pad != 0 {
		return ID{}, fmt.Errorf("epc: reserved bits are %#x: want 0", pad)
	}
	return id, nil
}

// Encode returns the 12 bytes for a tag's EPC memory. Beyond what any ID must
// satisfy, an SGTIN serial has to be a number below 2^38 without leading zeros.
func (id ID) Encode() ([]byte, error) {
	l, err := id.check()
	if err != nil {
		return nil, err
	}
	p := 12 - len(id.CompanyPrefix)
	company, err := strconv.ParseUint(id.CompanyPrefix, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("epc: company prefix: %w", err)
	}
	reference, err := strconv.ParseUint(id.Reference, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("epc: reference: %w", err)
	}
	var serial uint64
	if l.serialBits > 0 {
		if serial, err = serialNumber(id.Serial, l.serialBits); err != nil {
			return nil, err
		}
	}
	var w bits
	w.put(l.header, 8)
	w.put(uint64(id.Filter), 3)
	w.put(uint64(p), 3)
	w.put(company, companyBits(p))
	w.put(reference, l.bits-companyBits(p))
	w.put(serial, l.serialBits)
	return w.b[:], nil
}

// serialNumber refuses leading zeros because binary cannot keep them: 007 and
// 7 are two serial numbers, and would become one tag.
func serialNumber(s string, width int) (uint64, error) {
	if !digits(s) || len(s) > 1 && s[0] == '0' {
		return 0, fmt.Errorf("epc: serial number %q does not fit a 96-bit tag\nhint: use digits without a leading zero", s)
	}
	limit := uint64(1)<<width - 1
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil || v > limit {
		return 0, fmt.Errorf("epc: serial number %s > %d (%d bits)", s, limit, width)
	}
	return v, nil
}

// decimal pads v to n digits; a value with more digits is no valid field.
func decimal(v uint64, n int) (string, error) {
	s := strconv.FormatUint(v, 10)
	if len(s) > n {
		return "", fmt.Errorf("value %d has %d digits > %d", v, len(s), n)
	}
	return zeros(n-len(s)) + s, nil
}

func zeros(n int) string { return "00000000000000"[:n] }

// bits walks 96 bits from the most significant one.
type bits struct {
	b  [size]byte
	at int
}

func (w *bits) get(n int) (v uint64) {
	for range n {
		v = v<<1 | uint64(w.b[w.at/8]>>(7-w.at%8)&1)
		w.at++
	}
	return v
}

func (w *bits) put(v uint64, n int) {
	for i := n - 1; i >= 0; i-- {
		w.b[w.at/8] |= byte(v>>i&1) << (7 - w.at%8)
		w.at++
	}
}
