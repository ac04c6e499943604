package llrp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
)

// A StatusCode is a number of LLRP 1.0.1 section 14.
type StatusCode uint16

const (
	Success            StatusCode = 0
	ParameterError     StatusCode = 100
	FieldError         StatusCode = 101
	OverflowParameter  StatusCode = 105
	UnsupportedMessage StatusCode = 109
	UnsupportedVersion StatusCode = 110
	UnsupportedParam   StatusCode = 111
	UnexpectedMessage  StatusCode = 112
	DeviceError        StatusCode = 401
)

func (c StatusCode) String() string {
	switch c {
	case Success:
		return "M_Success"
	case ParameterError:
		return "M_ParameterError"
	case FieldError:
		return "M_FieldError"
	case OverflowParameter:
		return "M_OverflowParameter"
	case UnsupportedMessage:
		return "M_UnsupportedMessage"
	case UnsupportedVersion:
		return "M_UnsupportedVersion"
	case UnsupportedParam:
		return "M_UnsupportedParameter"
	case UnexpectedMessage:
		return "M_UnexpectedMessage"
	case DeviceError:
		return "R_DeviceError"
	}
	return "status " + strconv.Itoa(int(c))
}

// A Status is the LLRPStatus every response carries, and all that most
// responses and ERROR_MESSAGE carry.
type Status struct {
	Code        StatusCode
	Description string // UTF-8; the first 1024 bytes are sent
}

// A StatusError is a Status other than success.
type StatusError struct{ Status }

func (e *StatusError) Error() string {
	return fmt.Sprintf("llrp: reader says %v: %q", e.Code, e.Description)
}

// Err returns nil on success and a *StatusError with what the reader said otherwise.
func (s Status) Err() error {
	if s.Code == Success {
		return nil
	}
	return &StatusError{s}
}

// checkStatus is the error of a response's status.
func checkStatus(payload []byte) error {
	s, err := DecodeStatus(payload)
	if err != nil {
		return err
	}
	return s.Err()
}

// Encode returns the payload of a response that says nothing but its status.
func (s Status) Encode() []byte {
	return appendTLV(nil, pLLRPStatus, func(b []byte) []byte {
		return appendText(binary.BigEndian.AppendUint16(b, uint16(s.Code)), s.Description)
	})
}

// DecodeStatus finds the status in the payload of any response.
func DecodeStatus(payload []byte) (Status, error) {
	for p, err := range Params(payload) {
		if err != nil {
			return Status{}, err
		}
		if p.Type == pLLRPStatus {
			f := fields{b: p.Data}
			s := Status{Code: StatusCode(f.u16()), Description: f.text()}
			return s, f.err
		}
	}
	return Status{}, errors.New("llrp: response has no status")
}
