package mfrc522

import "bytes"

// Commands and marks of ISO/IEC 14443-3.
const (
	reqa       = 0x26
	hlta       = 0x50
	sel1       = 0x93 // each further cascade level is 2 more
	cascadeTag = 0x88
	sakCascade = 0x04
	randomUID  = 0x08
	levels     = 3
	uidBits    = 32
)

// crcA is the CRC of ISO/IEC 14443-3 annex B, preset 6363, in sending order.
func crcA(data []byte) [2]byte {
	crc := uint16(0x6363)
	for _, b := range data {
		crc ^= uint16(b)
		for range 8 {
			lsb := crc & 1
			crc >>= 1
			if lsb == 1 {
				crc ^= 0x8408
			}
		}
	}
	return [2]byte{byte(crc), byte(crc >> 8)}
}

// checked sends a command with its CRC and gives the n bytes of the answer
// without theirs.
func (c *chip) checked(command []byte, n int) ([]byte, error) {
	crc := crcA(command)
	a, err := c.exchange(append(command, crc[:]...), 0, 0)
	switch {
	case err != nil:
		return nil, err
	case a.collision != 0:
		return nil, refused("cards collide outside a uid")
	case len(a.data) == 1 && a.last == 4:
		return nil, refused("card refuses command 0x%02x with 0x%x", command[0], a.data[0])
	case len(a.data) != n+2 || a.last != 0:
		return nil, refused("answer to 0x%02x has %d bytes and %d bits, want %d bytes", command[0], len(a.data), a.last, n+2)
	}
	data := a.data[:n]
	if crc := crcA(data); !bytes.Equal(crc[:], a.data[n:]) {
		return nil, refused("answer to 0x%02x has crc %x, want %x", command[0], a.data[n:], crc)
	}
	return data, nil
}

// request calls every card that is not halted, and says whether any answered.
// A card left in the middle of a selection takes the first call as an error and
// only the second as a call (ISO/IEC 14443-3, figure 7).
func (c *chip) request() (bool, error) {
	for range 2 {
		_, err := c.exchange([]byte{reqa}, 7, 0)
		if err == nil || isRefusal(err) {
			// What several kinds of card say at once is no ATQA, but it is
			// somebody: who it is the selection will show.
			return true, nil
		}
		if err != errSilence {
			return false, err
		}
	}
	return false, nil
}

// A branch says which card to follow at the i'th collision of a selection: the
// one that sent a one there. Cards that never come to the end of a selection
// must not keep the others from theirs.
type branch func(i int) bool

// selected brings one of the cards that answered the request to ACTIVE, and
// gives its UID, 4, 7 or 10 bytes, and its SAK.
func (c *chip) selected(one branch) (uid []byte, sak byte, err error) {
	turn := 0
	for level := range levels {
		part, err := c.anticollision(sel1+byte(2*level), func() bool { turn++; return one(turn - 1) })
		if err != nil {
			return nil, 0, silenceIsRefusal(err, "card fell silent in its selection")
		}
		b, err := c.checked(append([]byte{sel1 + byte(2*level), 0x70}, part[:]...), 1)
		if err != nil {
			return nil, 0, silenceIsRefusal(err, "card did not confirm its uid")
		}
		sak = b[0]
		more := sak&sakCascade != 0
		if level < levels-1 && more != (part[0] == cascadeTag) {
			return nil, 0, refused("level %d of a uid is % x, its sak 0x%02x", level+1, part, sak)
		}
		if !more {
			uid = append(uid, part[:4]...)
			return uid, sak, nil
		}
		uid = append(uid, part[1:4]...)
	}
	return nil, 0, refused("uid of more than %d levels", levels)
}

// identity refuses numbers that many cards have, or one card for a moment only.
func identity(uid []byte) error {
	switch {
	case len(uid) == 4 && uid[0] == randomUID: // ISO/IEC 14443-3, table 9: phones, passports
		return refused("uid % x is random and names nothing", uid)
	case bytes.Count(uid, []byte{0x00}) == len(uid), bytes.Count(uid, []byte{0xff}) == len(uid):
		return refused("uid % x is blank", uid)
	}
	return nil
}

// anticollision learns the four bytes and the BCC of one card at a cascade
// level (ISO/IEC 14443-3, 6.5.3): it asks for all that begin with what is known,
// and at the first bit where they differ goes on with some of them.
func (c *chip) anticollision(sel byte, one func() bool) (uid [5]byte, err error) {
	for known := 0; ; {
		whole, odd := known/8, known%8
		length := (known + 7) / 8
		frame := append([]byte{sel, byte(2+whole)<<4 | byte(odd)}, uid[:length]...)
		a, err := c.exchange(frame, odd, odd)
		if err != nil {
			return uid, err
		}
		if len(a.data) > 5-whole {
			return uid, refused("anticollision answer of %d bytes after %d bits", len(a.data), known)
		}
		got := uid
		if copy(got[whole:], a.data); odd > 0 {
			mask := byte(1)<<odd - 1
			got[whole] = uid[whole]&mask | a.data[0]&^mask
		}
		if a.collision == 0 {
			if len(a.data) != 5-whole || a.last != 0 {
				return uid, refused("anticollision answer of %d bytes and %d bits after %d bits", len(a.data), a.last, known)
			}
			if bcc := got[0] ^ got[1] ^ got[2] ^ got[3]; bcc != got[4] {
				return uid, refused("uid part % x has bcc 0x%02x, want 0x%02x", got[:4], got[4], bcc)
			}
			return got, nil
		}
		// The position counts from the first bit of the FIFO, so what is known
		// of a split byte counts and whole bytes do not. Much code in use takes
		// it for a position in the uid, and fails from the second byte on.
		at := 8*whole + a.collision
		if at <= known || at > uidBits || (at+7)/8 > whole+len(a.data) {
			return uid, refused("collision at bit %d of a uid of which %d are known", at, known)
		}
		// What the chip has from the collision on is not specified.
		known = at
		clear(got[(at+7)/8:])
		bit := byte(1) << ((at - 1) % 8)
		got[(at-1)/8] &= bit - 1
		if one() {
			got[(at-1)/8] |= bit
		}
		uid = got
	}
}

// halt sends the selected card to sleep until the field is switched off. It
// confirms by saying nothing.
func (c *chip) halt() error {
	frame := []byte{hlta, 0x00}
	crc := crcA(frame)
	_, err := c.exchange(append(frame, crc[:]...), 0, 0)
	if err == nil {
		return refused("card refuses to halt")
	}
	if err == errSilence {
		return nil
	}
	return err
}

func silenceIsRefusal(err error, what string) error {
	if err == errSilence {
		return refusal(what)
	}
	return err
}
