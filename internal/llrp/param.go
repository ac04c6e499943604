package llrp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
)

// A ParamType is a number of LLRP 1.0.1 section 16.2.
type ParamType uint16

const (
	tvAntennaID       ParamType = 1
	tvFirstSeenUTC    ParamType = 2
	tvFirstSeenUptime ParamType = 3
	tvLastSeenUTC     ParamType = 4
	tvLastSeenUptime  ParamType = 5
	tvPeakRSSI        ParamType = 6
	tvTagSeenCount    ParamType = 8
	tvROSpecID        ParamType = 9
	tvEPC96           ParamType = 13

	pUTCTimestamp         ParamType = 128
	pUptime               ParamType = 129
	pGeneralCapabilities  ParamType = 137
	pReceiveSensitivity   ParamType = 139
	pPerAntennaAirProto   ParamType = 140
	pGPIOCapabilities     ParamType = 141
	pLLRPCapabilities     ParamType = 142
	pRegulatory           ParamType = 143
	pUHFBand              ParamType = 144
	pTransmitPowerLevel   ParamType = 145
	pFrequencyInformation ParamType = 146
	pFrequencyHopTable    ParamType = 147
	pFixedFrequencyTable  ParamType = 148
	pROSpec               ParamType = 177
	pROBoundarySpec       ParamType = 178
	pROSpecStartTrigger   ParamType = 179
	pROSpecStopTrigger    ParamType = 182
	pAISpec               ParamType = 183
	pAISpecStopTrigger    ParamType = 184
	pInventoryParameter   ParamType = 186
	pAccessSpec           ParamType = 207
	pAccessSpecStop       ParamType = 208
	pAccessCommand        ParamType = 209
	pKeepaliveSpec        ParamType = 220
	pAntennaConfiguration ParamType = 222
	pRFTransmitter        ParamType = 224
	pEventsAndReports     ParamType = 226
	pROReportSpec         ParamType = 237
	pTagReportSelector    ParamType = 238
	pAccessReportSpec     ParamType = 239
	pTagReportData        ParamType = 240
	pEPCData              ParamType = 241
	pEventSpec            ParamType = 244
	pEventState           ParamType = 245
	pEventData            ParamType = 246
	pROSpecEvent          ParamType = 249
	pBufferOverflow       ParamType = 251
	pReaderException      ParamType = 252
	pAntennaEvent         ParamType = 255
	pConnectionAttempt    ParamType = 256
	pConnectionCloseEvent ParamType = 257
	pLLRPStatus           ParamType = 287
	pC1G2Capabilities     ParamType = 327
	pC1G2RFModeTable      ParamType = 328
	pC1G2RFMode           ParamType = 329
	pC1G2Inventory        ParamType = 330
	pC1G2Singulation      ParamType = 336
	pC1G2TagSpec          ParamType = 338
	pC1G2TargetTag        ParamType = 339
	pC1G2Read             ParamType = 341
	pC1G2ReadResult       ParamType = 349
	pCustom               ParamType = 1023
)

// errUnknownTV ends a walk: a TV of unknown type has no length to skip by.
var errUnknownTV = errors.New("llrp: unknown tv parameter")

// A Param is one parameter; Data is its body and shares the caller's memory.
type Param struct {
	Type ParamType
	Data []byte
}

// Params walks the parameters of b in order. After an error it ends.
func Params(b []byte) iter.Seq2[Param, error] {
	return func(yield func(Param, error) bool) {
		for len(b) > 0 {
			p, n, err := next(b)
			if err != nil {
				yield(Param{}, err)
				return
			}
			if b = b[n:]; !yield(p, nil) {
				return
			}
		}
	}
}

func next(b []byte) (Param, int, error) {
	if b[0]&0x80 != 0 {
		t := ParamType(b[0] & 0x7f)
		n, ok := tvSize(t)
		if !ok {
			return Param{}, 0, fmt.Errorf("%w: type %d", errUnknownTV, t)
		}
		if len(b) < 1+n {
			return Param{}, 0, fmt.Errorf("llrp: parameter %d has %d bytes < %d", t, len(b)-1, n)
		}
		return Param{t, b[1 : 1+n]}, 1 + n, nil
	}
	if len(b) < 4 {
		return Param{}, 0, fmt.Errorf("llrp: %d bytes left < 4 of a parameter header", len(b))
	}
	t := ParamType(binary.BigEndian.Uint16(b) & 0x3ff)
	n := int(binary.BigEndian.Uint16(b[2:]))
	if n < 4 || n > len(b) {
		return Param{}, 0, fmt.Errorf("llrp: parameter %d says it has %d bytes: want 4 to %d", t, n, len(b))
	}
	return Param{t, b[4:n]}, n, nil
}

// tvSize is the body size of every TV that LLRP 1.1 defines.
func tvSize(t ParamType) (int, bool) {
	sizes := [21]int{1: 2, 8, 8, 8, 8, 1, 2, 2, 4, 2, 2, 2, 12, 2, 2, 4, 2, 4, 2, 2}
	if t < 1 || int(t) >= len(sizes) {
		return 0, false
	}
	return sizes[t], true
}

// fields reads the fixed fields in front of a body's parameters. The first
// shortage sticks in err and every later read gives zeros.
type fields struct {
	b   []byte
	err error
}

func (f *fields) take(n int) []byte {
	if f.err != nil || len(f.b) < n {
		if f.err == nil {
			f.err = fmt.Errorf("llrp: field of %d bytes, %d left", n, len(f.b))
		}
		return nil
	}
	v := f.b[:n]
	f.b = f.b[n:]
	return v
}

func (f *fields) u8() uint8   { return uint8(f.uint(1)) }
func (f *fields) u16() uint16 { return uint16(f.uint(2)) }
func (f *fields) u32() uint32 { return uint32(f.uint(4)) }
func (f *fields) u64() uint64 { return f.uint(8) }

func (f *fields) uint(n int) (v uint64) {
	for _, c := range f.take(n) {
		v = v<<8 | uint64(c)
	}
	return v
}

// text reads a string behind its 16-bit length in bytes.
func (f *fields) text() string { return string(f.take(int(f.u16()))) }

// maxText keeps what we send far from a parameter's 16-bit length.
const maxText = 1024

func appendText(b []byte, s string) []byte {
	s = s[:min(len(s), maxText)]
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// appendTLV puts a header before what body appends. A parameter that outgrew its
// 16-bit length would break the frame, so every caller bounds what it appends.
func appendTLV(b []byte, t ParamType, body func([]byte) []byte) []byte {
	at := len(b)
	b = body(append(b, byte(t>>8), byte(t), 0, 0))
	binary.BigEndian.PutUint16(b[at+2:], uint16(len(b)-at))
	return b
}

// bytesTLV is appendTLV for a body at hand.
func bytesTLV(b []byte, t ParamType, body ...byte) []byte {
	return appendTLV(b, t, func(b []byte) []byte { return append(b, body...) })
}

func appendTV(b []byte, t ParamType) []byte { return append(b, 0x80|byte(t)) }
