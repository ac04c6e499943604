package device

import (
	"fmt"

	"trailmark/internal/dcbor"
	"trailmark/statement"
)

// A Record is what a device keeps of one frame: the message to send, and the
// state to go on from. They are one record so that one write holds both.
type Record struct {
	_       struct{} `cbor:",toarray"`
	Version uint64   // 1
	Up      []byte
	State   []byte // encoded
}

// MaxRecord bounds an encoded Record, in bytes.
const MaxRecord = statement.MaxSize + MaxState + 64

// Record is what to keep before the frame is published.
func (s Sealed) Record() ([]byte, error) {
	state, err := s.Next.Encode()
	if err != nil {
		return nil, err
	}
	return dcbor.Marshal(Record{Version: 1, Up: s.Up, State: state})
}

// ParseRecord decodes a kept record. Up and State are not looked into.
func ParseRecord(data []byte) (Record, error) {
	var r Record
	if err := dcbor.UnmarshalMax(data, &r, MaxRecord); err != nil {
		return Record{}, fmt.Errorf("kept frame: %w", err)
	}
	if r.Version != 1 {
		return Record{}, fmt.Errorf("kept frame of version %d, want 1", r.Version)
	}
	return r, nil
}

// Statement is the frame statement in the record's message.
func (r Record) Statement() (*statement.Statement, error) {
	var u statement.Up
	if err := dcbor.Unmarshal(r.Up, &u); err != nil {
		return nil, fmt.Errorf("kept frame: %w", err)
	}
	return statement.Parse(u.Statement)
}
