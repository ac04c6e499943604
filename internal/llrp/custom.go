package llrp

import (
	"encoding/binary"
	"errors"
)

// Manufacturers, by their IANA private enterprise numbers.
const (
	VendorZebra  = 161 // as Motorola and Symbol before
	VendorImpinj = 25882
)

// Subtypes of Impinj's additions ("Octane LLRP").
const (
	impinjEnableExtensions         = 21 // a message
	impinjEnableExtensionsResponse = 22
	impinjSearchMode               = 23
	impinjReportSelector           = 50
	impinjEnableSerializedTID      = 51
	impinjSerializedTID            = 55
)

// A SearchMode is what an Impinj reader does with the tags it has inventoried.
type SearchMode uint16

// The search modes.
const (
	SearchReader SearchMode = 0 // as the reader thinks best
	SearchSingle SearchMode = 1 // calls tags in A: each once while its flag persists
	SearchDual   SearchMode = 2 // calls A, then B: each again and again
)

// EnableImpinj returns the payload of the CUSTOM_MESSAGE that makes an Impinj
// reader take and send its maker's additions, in this connection.
func EnableImpinj() []byte { return customMessage(impinjEnableExtensions, 0, 0, 0, 0) }

// IsEnableImpinj says whether a CUSTOM_MESSAGE is EnableImpinj's.
func IsEnableImpinj(payload []byte) bool {
	subtype, _ := decodeMessage(payload)
	return subtype == impinjEnableExtensions
}

// EncodeImpinjEnabled returns the payload of the response to EnableImpinj.
func EncodeImpinjEnabled(s Status) []byte {
	return customMessage(impinjEnableExtensionsResponse, s.Encode()...)
}

// DecodeImpinjEnabled reads it; a status other than success is an error.
func DecodeImpinjEnabled(payload []byte) error {
	subtype, body := decodeMessage(payload)
	if subtype != impinjEnableExtensionsResponse {
		return errors.New("llrp: custom message is not the answer to enable impinj's extensions")
	}
	return checkStatus(body)
}

// customMessage returns a message of Impinj's: its subtype has 8 bits, that of a
// parameter 32.
func customMessage(subtype uint8, body ...byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, VendorImpinj)
	return append(append(b, subtype), body...)
}

// decodeMessage returns the subtype of a message of Impinj's, 0 for others.
func decodeMessage(b []byte) (subtype uint8, body []byte) {
	f := fields{b: b}
	if vendor := f.u32(); vendor != VendorImpinj {
		return 0, nil
	}
	return f.u8(), f.b
}

// decodeCustom returns the subtype of a parameter of Impinj's, 0 for others.
func decodeCustom(b []byte) (subtype uint32, body []byte) {
	f := fields{b: b}
	if vendor := f.u32(); vendor != VendorImpinj {
		return 0, nil
	}
	return f.u32(), f.b
}

func customTLV(b []byte, subtype uint32, body ...byte) []byte {
	return appendTLV(b, pCustom, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint32(b, VendorImpinj)
		return append(binary.BigEndian.AppendUint32(b, subtype), body...)
	})
}
