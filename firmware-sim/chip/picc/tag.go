// Package picc is contactless cards and tags of ISO/IEC 14443 type A and the
// field of a reader they stand in, bit by bit: what all of them answer at once
// is laid over one another, as on the air.
package picc

import (
	"bytes"
	"slices"
	"sync"
)

// A State is where a card is in ISO/IEC 14443-3, figure 7. The starred states
// are those of a card that was woken from HALT, and falls back to it.
type State uint8

const (
	Off State = iota
	Idle
	Ready
	Active
	Halt
	ReadyStar
	ActiveStar
)

// String gives the standard's name.
func (s State) String() string {
	return [...]string{"POWER-OFF", "IDLE", "READY", "ACTIVE", "HALT", "READY*", "ACTIVE*"}[s]
}

// Commands of ISO/IEC 14443-3 and of the types modelled here.
const (
	reqa       = 0x26
	wupa       = 0x52
	hlta       = 0x50
	sel1       = 0x93
	ct         = 0x88 // cascade tag: more of the UID follows
	read       = 0x30
	getVersion = 0x60 // NTAG
	authA      = 0x60 // MIFARE Classic
	authB      = 0x61
)

// A Tag is one card. Its methods may be called from any goroutine.
type Tag struct {
	uid    []byte
	atqa   [2]byte
	sak    byte
	active func(command []byte) (Frame, bool) // answers in ACTIVE, with mu held; false: an error, the card leaves ACTIVE

	mu     sync.Mutex // guards the rest
	memory []byte     // pages of four bytes, NTAG only
	state  State
	level  int // of the cascade in READY, from 0
}

// Classic1K is a MIFARE Classic 1K: a 4-byte UID, and a memory that answers
// NAK until it is authenticated. Crypto1 is not modelled, so that is never.
func Classic1K(uid [4]byte) *Tag {
	t := &Tag{uid: uid[:], atqa: [2]byte{0x04, 0x00}, sak: 0x08}
	t.active = func(command []byte) (Frame, bool) {
		switch command[0] {
		case authA, authB:
			if len(command) == 2 {
				return Standard(0x01, 0x20, 0x01, 0x45), true // the card's challenge, plain
			}
		case read:
			return nak(0x4), false
		}
		return nil, false
	}
	return t
}

// NTAG213 has 144 bytes of user memory and a 7-byte UID (NXP NTAG213/215/216
// data sheet, 8.5).
func NTAG213(uid [7]byte) *Tag { return ntag(uid, 45, 0x12, 0x0f) }

// NTAG215 has 504 bytes of user memory.
func NTAG215(uid [7]byte) *Tag { return ntag(uid, 135, 0x3e, 0x11) }

func ntag(uid [7]byte, pages int, size, storage byte) *Tag {
	m := make([]byte, 4*pages)
	copy(m, uid[:3])
	m[3] = ct ^ uid[0] ^ uid[1] ^ uid[2]
	copy(m[4:], uid[3:])
	m[8] = uid[3] ^ uid[4] ^ uid[5] ^ uid[6]
	m[9] = 0x48
	copy(m[12:], []byte{0xe1, 0x10, size, 0x00, 0x03, 0x00, 0xfe}) // capability container, empty NDEF message
	t := &Tag{uid: uid[:], atqa: [2]byte{0x44, 0x00}, sak: 0x00, memory: m}
	t.active = func(command []byte) (Frame, bool) {
		switch {
		case command[0] == getVersion && len(command) == 1:
			return withCRC(0x00, 0x04, 0x04, 0x02, 0x01, 0x00, storage, 0x03), true
		case command[0] == read && len(command) == 2:
			if int(command[1]) >= pages {
				return nak(0x0), false
			}
			around := slices.Concat(t.memory, t.memory[:12]) // rolls over to page 0
			at := 4 * int(command[1])
			return withCRC(around[at : at+16]...), true
		}
		return nak(0x0), false
	}
	return t
}

// Triple is a card with a 10-byte UID, which no card on sale has but the
// standard does; it knows no commands.
func Triple(uid [10]byte) *Tag {
	return &Tag{uid: uid[:], atqa: [2]byte{0x84, 0x00}, sak: 0x00,
		active: func([]byte) (Frame, bool) { return nil, false }}
}

// nak is the 4-bit answer of MIFARE and NTAG; 0xa would be ACK.
func nak(code byte) Frame { return Partial([]byte{code}, 4) }

// UID is the card's number, 4, 7 or 10 bytes.
func (t *Tag) UID() []byte { return bytes.Clone(t.uid) }

// State says where the card is.
func (t *Tag) State() State {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state
}

// Write puts data at a page of an NTAG, as a programmer did before the journey.
func (t *Tag) Write(page int, data []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	copy(t.memory[4*page:], data)
}

// power gives or takes the field.
func (t *Tag) power(on bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.level = 0
	t.state = Off
	if on {
		t.state = Idle
	}
}

// cl is the five bytes of cascade level i, BCC last.
func (t *Tag) cl(i int) []byte {
	b := make([]byte, 0, 5)
	if i < t.levels()-1 {
		b = append(append(b, ct), t.uid[3*i:3*i+3]...)
	} else {
		b = append(b, t.uid[3*i:3*i+4]...)
	}
	return append(b, b[0]^b[1]^b[2]^b[3])
}

func (t *Tag) levels() int { return len(t.uid) / 3 } // 4, 7, 10 bytes: 1, 2, 3

// receive is what the card answers, nil for silence.
func (t *Tag) receive(f Frame) Frame {
	data, n, ok := f.Bytes()
	t.mu.Lock()
	defer t.mu.Unlock()
	switch t.state {
	case Idle, Halt:
		if !ok || n != 7 || data[0] != wupa && (data[0] != reqa || t.state == Halt) {
			return nil
		}
		t.level = 0
		t.state = map[State]State{Idle: Ready, Halt: ReadyStar}[t.state]
		return Standard(t.atqa[:]...)
	case Ready, ReadyStar:
		answer := t.selection(data, n, ok)
		if answer == nil {
			t.fall()
		}
		return answer
	case Active, ActiveStar:
		if !ok || n < 24 || n%8 != 0 || CRC(PresetA, data) != 0 {
			t.fall() // REQA too: a card that was not halted misses the next request
			if n >= 16 && t.memory != nil {
				return nak(0x1) // parity or CRC error (NTAG21x data sheet, table 23)
			}
			return nil
		}
		command := data[:len(data)-2]
		if bytes.Equal(command, []byte{hlta, 0x00}) {
			t.state = Halt
			return nil
		}
		answer, stay := t.active(command)
		if !stay {
			t.fall()
		}
		return answer
	}
	return nil
}

// fall is the standard's way out of READY and ACTIVE. The caller holds mu.
func (t *Tag) fall() {
	if t.state == ReadyStar || t.state == ActiveStar {
		t.state = Halt
		return
	}
	t.state = Idle
}

// selection answers ANTICOLLISION and SELECT of the level the card is at, and is
// nil for everything else. The caller holds mu.
func (t *Tag) selection(data []byte, n int, ok bool) Frame {
	if !ok || n < 16 || data[0] != sel1+byte(2*t.level) {
		return nil
	}
	uid := t.cl(t.level)
	if data[1] == 0x70 {
		if n != 72 || CRC(PresetA, data) != 0 || !bytes.Equal(data[2:7], uid) {
			return nil
		}
		if t.level++; t.level < t.levels() {
			return withCRC(0x04) // cascade bit: the UID is not complete
		}
		t.state = map[State]State{Ready: Active, ReadyStar: ActiveStar}[t.state]
		return withCRC(t.sak)
	}
	known := 8*(int(data[1]>>4)-2) + int(data[1]&0xf)
	if data[1]&0xf > 7 || known < 0 || known > 32 || n != 16+known {
		return nil
	}
	for i := range known {
		if data[2+i/8]>>(i%8)&1 != uid[i/8]>>(i%8)&1 {
			return nil
		}
	}
	return Rest(uid, known)
}
