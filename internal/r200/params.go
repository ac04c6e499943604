package r200

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// maxEPC is the most a Gen2 tag can hold: 31 words of 16 bits.
const maxEPC = 62

// A Region is a band of frequencies; the law of the place says which.
type Region uint8

// The regions of the protocol.
const (
	China900 Region = 1 // 920-925 MHz
	US       Region = 2 // 902-928 MHz
	Europe   Region = 3 // 865-868 MHz
	China800 Region = 4 // 840-845 MHz
	Korea    Region = 6 // 917-923 MHz
)

// Valid says whether r is one of the regions.
func (r Region) Valid() bool { return r >= China900 && r <= Korea && r != 5 }

var regionNames = map[string]Region{"china-900": China900, "china-800": China800, "us": US, "eu": Europe, "korea": Korea}

// ParseRegion reads a region's name: china-900, china-800, us, eu or korea.
func ParseRegion(name string) (Region, error) {
	if r, ok := regionNames[name]; ok {
		return r, nil
	}
	return 0, fmt.Errorf("r200: region %q\nhint: it is one of china-900, china-800, us, eu, korea", name)
}

// String returns the name that ParseRegion reads.
func (r Region) String() string {
	for name, v := range regionNames {
		if v == r {
			return name
		}
	}
	return fmt.Sprintf("region %d", uint8(r))
}

// Info parameters: what GetInfo asks for.
const (
	InfoHardware     = 0
	InfoSoftware     = 1
	InfoManufacturer = 2
)

// A SelectMode says when the module singles out tags before it speaks to them.
type SelectMode uint8

// The select modes.
const (
	SelectAlways    SelectMode = 0
	SelectNever     SelectMode = 1
	SelectForAccess SelectMode = 2 // for everything but inventory
)

// Memory banks of a Gen2 tag.
const (
	BankEPC = 1
	BankTID = 2
)

// An ErrorCode is what a module says of a command that failed.
type ErrorCode uint8

// The error codes an inventory meets.
const (
	ReadFailed   ErrorCode = 0x09 // no tag answered a read
	NoTag        ErrorCode = 0x15 // an inventory round found nothing, or only broken answers
	AccessFailed ErrorCode = 0x16 // wrong access password
	BadCommand   ErrorCode = 0x17 // parameters or code unknown to the module
	HopFailed    ErrorCode = 0x20 // no free channel found

	TagRefused ErrorCode = 0xa0 // and the tag's own Gen2 error code in the low four bits
)

// Error makes the code an error.
func (c ErrorCode) Error() string {
	switch c {
	case ReadFailed:
		return "r200: no tag answered the read"
	case NoTag:
		return "r200: no tag"
	case AccessFailed:
		return "r200: access password refused"
	case BadCommand:
		return "r200: command not understood"
	case HopFailed:
		return "r200: no free channel"
	}
	if c&0xf0 == TagRefused {
		return fmt.Sprintf("r200: tag refuses the read with gen2 error %d", uint8(c-TagRefused))
	}
	return fmt.Sprintf("r200: error 0x%02x", uint8(c))
}

// DecodeFailed reads the parameters of a response with code Failed. Some are
// followed by the tag at fault, which is passed over.
func DecodeFailed(params []byte) (ErrorCode, error) {
	if len(params) == 0 {
		return 0, errors.New("r200: failure without an error code")
	}
	return ErrorCode(params[0]), nil
}

// A Tag is one answer of a tag in an inventory.
type Tag struct {
	PC   uint16 // protocol control word; its first 5 bits count the words of the EPC
	EPC  []byte // at most 62 bytes
	RSSI int    // dBm, -128..127
}

// Encode returns the parameters of a notice.
func (t Tag) Encode() ([]byte, error) {
	if len(t.EPC) > maxEPC || len(t.EPC)%2 != 0 || t.RSSI < math.MinInt8 || t.RSSI > math.MaxInt8 {
		return nil, fmt.Errorf("r200: notice with an epc of %d bytes at %d dBm", len(t.EPC), t.RSSI)
	}
	b := binary.BigEndian.AppendUint16([]byte{byte(t.RSSI)}, t.PC)
	b = append(b, t.EPC...)
	return binary.BigEndian.AppendUint16(b, CRC16(b[1:])), nil
}

// DecodeTag reads the parameters of a notice. The checksum of the frame covers
// only the wire; the CRC covers the air as well, and is checked here.
func DecodeTag(params []byte) (Tag, error) {
	if len(params) < 5 {
		return Tag{}, fmt.Errorf("r200: notice of %d bytes < 5", len(params))
	}
	crc := len(params) - 2
	t := Tag{RSSI: int(int8(params[0])), PC: binary.BigEndian.Uint16(params[1:]), EPC: bytes.Clone(params[3:crc])}
	if err := checkLength(t.PC, t.EPC); err != nil {
		return Tag{}, err
	}
	if got, want := binary.BigEndian.Uint16(params[crc:]), CRC16(params[1:crc]); got != want {
		return Tag{}, fmt.Errorf("r200: crc of pc and epc is %04x, want %04x", got, want)
	}
	return t, nil
}

// checkLength holds the length of an EPC against its PC word: a tag cut short
// would be another tag.
func checkLength(pc uint16, epc []byte) error {
	if want := 2 * int(pc>>11); len(epc) != want {
		return fmt.Errorf("r200: epc of %d bytes, its pc word %04x says %d", len(epc), pc, want)
	}
	return nil
}

// Memory is what ReadMemory read, and of which tag.
type Memory struct {
	PC   uint16
	EPC  []byte
	Data []byte // whole words
}

// Encode returns the parameters of the response.
func (m Memory) Encode() ([]byte, error) {
	if len(m.EPC) > maxEPC {
		return nil, fmt.Errorf("r200: epc of %d bytes > %d", len(m.EPC), maxEPC)
	}
	b := binary.BigEndian.AppendUint16([]byte{byte(2 + len(m.EPC))}, m.PC)
	return append(append(b, m.EPC...), m.Data...), nil
}

// DecodeMemory reads the response to ReadMemory of so many words.
func DecodeMemory(params []byte, words int) (Memory, error) {
	if len(params) < 3 {
		return Memory{}, fmt.Errorf("r200: memory of %d bytes < 3", len(params))
	}
	n := int(params[0])
	if n < 2 || len(params) != 1+n+2*words {
		return Memory{}, fmt.Errorf("r200: memory of %d bytes, of which %d name the tag and %d were asked for", len(params), n, 2*words)
	}
	m := Memory{PC: binary.BigEndian.Uint16(params[1:]), EPC: bytes.Clone(params[3 : 1+n]), Data: bytes.Clone(params[1+n:])}
	return m, checkLength(m.PC, m.EPC)
}

// A MemoryRange is the parameters of ReadMemory; there is no access password.
type MemoryRange struct {
	Bank         uint8 // 0..3
	First, Words uint16
}

// Encode returns the parameters.
func (r MemoryRange) Encode() []byte {
	b := []byte{0, 0, 0, 0, r.Bank}
	b = binary.BigEndian.AppendUint16(b, r.First)
	return binary.BigEndian.AppendUint16(b, r.Words)
}

// DecodeMemoryRange reads what Encode wrote, and ignores a password.
func DecodeMemoryRange(params []byte) (MemoryRange, error) {
	if len(params) != 9 || params[4] > 3 {
		return MemoryRange{}, fmt.Errorf("r200: memory range % x", params)
	}
	return MemoryRange{params[4], binary.BigEndian.Uint16(params[5:]), binary.BigEndian.Uint16(params[7:])}, nil
}

const (
	selectEPC = 0x01 // target S0, action 0: matching tags are A, others B; bank EPC
	selectAt  = 32   // where the EPC starts in its bank, in bits: behind CRC and PC
)

// EncodeSelect returns the parameters of SetSelect that single out the tags
// with this EPC and no other that is as long.
func EncodeSelect(epc []byte) ([]byte, error) {
	if len(epc) == 0 || 8*len(epc) > math.MaxUint8 {
		return nil, fmt.Errorf("r200: select by an epc of %d bytes: want 1 to 31", len(epc))
	}
	b := []byte{selectEPC}
	b = binary.BigEndian.AppendUint32(b, selectAt)
	return append(append(b, byte(8*len(epc)), 0), epc...), nil
}

// DecodeSelect reads what EncodeSelect wrote; other selects are an error.
func DecodeSelect(params []byte) (epc []byte, err error) {
	if len(params) < 8 || params[0] != selectEPC || binary.BigEndian.Uint32(params[1:]) != selectAt ||
		int(params[5]) != 8*(len(params)-7) || params[6] != 0 {
		return nil, fmt.Errorf("r200: select % x is not by the whole epc", params)
	}
	return bytes.Clone(params[7:]), nil
}

// DecodeSelectMode reads the parameters of SetSelectMode.
func DecodeSelectMode(params []byte) (SelectMode, error) {
	if len(params) != 1 || SelectMode(params[0]) > SelectForAccess {
		return 0, fmt.Errorf("r200: select mode % x", params)
	}
	return SelectMode(params[0]), nil
}

// manyReserved stands in front of the count of PollMany.
const manyReserved = 0x22

// EncodePollMany returns the parameters of PollMany: so many rounds.
func EncodePollMany(rounds uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{manyReserved}, rounds)
}

// DecodePollMany reads what EncodePollMany wrote.
func DecodePollMany(params []byte) (rounds uint16, err error) {
	if len(params) != 3 || params[0] != manyReserved {
		return 0, fmt.Errorf("r200: poll many % x", params)
	}
	return binary.BigEndian.Uint16(params[1:]), nil
}

// EncodePower returns a transmit power, in hundredths of a dBm, as SetPower and
// the response to GetPower have it.
func EncodePower(centi int16) []byte { return binary.BigEndian.AppendUint16(nil, uint16(centi)) }

// DecodePower reads what EncodePower wrote.
func DecodePower(params []byte) (centi int16, err error) {
	if len(params) != 2 {
		return 0, fmt.Errorf("r200: power of %d bytes, want 2", len(params))
	}
	return int16(binary.BigEndian.Uint16(params)), nil
}

// DecodeRegion reads the parameters of SetRegion and the response to GetRegion.
func DecodeRegion(params []byte) (Region, error) {
	if len(params) != 1 || !Region(params[0]).Valid() {
		return 0, fmt.Errorf("r200: region % x", params)
	}
	return Region(params[0]), nil
}

// DecodeDone reads the response to a command that has nothing to say but that it
// was carried out.
func DecodeDone(params []byte) error {
	if len(params) != 1 || params[0] != 0 {
		return fmt.Errorf("r200: answer % x, want 00", params)
	}
	return nil
}

// DecodeInfo reads the response to GetInfo of one parameter, as text.
func DecodeInfo(params []byte, what byte) (string, error) {
	if len(params) < 1 || params[0] != what {
		return "", fmt.Errorf("r200: info % x is not about %d", params[:min(len(params), 1)], what)
	}
	return string(params[1:]), nil
}

// CRC16 is that of Gen2 and ISO/IEC 13239: polynomial 0x1021, start 0xffff,
// complemented.
func CRC16(b []byte) uint16 {
	crc := uint16(0xffff)
	for _, v := range b {
		crc ^= uint16(v) << 8
		for range 8 {
			high := crc & 0x8000
			crc <<= 1
			if high != 0 {
				crc ^= 0x1021
			}
		}
	}
	return ^crc
}
