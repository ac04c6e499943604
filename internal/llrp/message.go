// Package llrp is the part of EPCglobal's Low Level Reader Protocol that an
// inventory needs, as bytes: framing, parameters, and the bodies of about
// twenty messages. Client and simulated reader share it; it opens no socket.
//
// It promises that decoding is bounded by the message at hand, never panics,
// and passes over parameters it does not know, whatever a vendor adds.
//
// Format: LLRP 1.0.1 (version 1 on the wire; a 1.1 reader speaks it until told
// otherwise), all numbers big-endian.
//
//	message  reserved:3 version:3 type:10 length:32 id:32 payload
//	TLV      reserved:6 type:10 length:16 body          types from 128
//	TV       1:1 type:7 body of a length the type says  types 1 to 127
package llrp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Version is what the version field says for LLRP 1.0.1.
const Version = 1

// MaxMessage is more than any inventory message needs, in bytes with header.
const MaxMessage = 256 << 10

const headerSize = 10

// A MessageType is a number of LLRP 1.0.1 section 16.1.
type MessageType uint16

const (
	GetReaderCapabilities         MessageType = 1
	GetReaderCapabilitiesResponse MessageType = 11
	SetReaderConfig               MessageType = 3
	SetReaderConfigResponse       MessageType = 13
	CloseConnection               MessageType = 14
	CloseConnectionResponse       MessageType = 4
	AddROSpec                     MessageType = 20
	AddROSpecResponse             MessageType = 30
	DeleteROSpec                  MessageType = 21
	DeleteROSpecResponse          MessageType = 31
	StartROSpec                   MessageType = 22
	StartROSpecResponse           MessageType = 32
	StopROSpec                    MessageType = 23
	StopROSpecResponse            MessageType = 33
	EnableROSpec                  MessageType = 24
	EnableROSpecResponse          MessageType = 34
	ROAccessReport                MessageType = 61
	Keepalive                     MessageType = 62
	KeepaliveAck                  MessageType = 72
	ReaderEventNotification       MessageType = 63
	ErrorMessage                  MessageType = 100
)

// Response returns the type that answers t, 0 if nothing here does.
func (t MessageType) Response() MessageType {
	switch t {
	case GetReaderCapabilities, SetReaderConfig, AddROSpec, DeleteROSpec, StartROSpec, StopROSpec, EnableROSpec:
		return t + 10
	case CloseConnection:
		return CloseConnectionResponse
	case Keepalive:
		return KeepaliveAck
	}
	return 0
}

// String returns the name the standard uses, or the number.
func (t MessageType) String() string {
	switch t {
	case GetReaderCapabilities:
		return "GET_READER_CAPABILITIES"
	case SetReaderConfig:
		return "SET_READER_CONFIG"
	case CloseConnection:
		return "CLOSE_CONNECTION"
	case AddROSpec:
		return "ADD_ROSPEC"
	case DeleteROSpec:
		return "DELETE_ROSPEC"
	case StartROSpec:
		return "START_ROSPEC"
	case StopROSpec:
		return "STOP_ROSPEC"
	case EnableROSpec:
		return "ENABLE_ROSPEC"
	case ROAccessReport:
		return "RO_ACCESS_REPORT"
	case Keepalive:
		return "KEEPALIVE"
	case KeepaliveAck:
		return "KEEPALIVE_ACK"
	case ReaderEventNotification:
		return "READER_EVENT_NOTIFICATION"
	case ErrorMessage:
		return "ERROR_MESSAGE"
	case CloseConnectionResponse:
		return "CLOSE_CONNECTION_RESPONSE"
	}
	if t > 10 && (t-10).Response() == t {
		return (t - 10).String() + "_RESPONSE"
	}
	return "message " + strconv.Itoa(int(t))
}

// A Message is one frame. ID pairs a response with its request.
type Message struct {
	Version uint8 // 0..7
	Type    MessageType
	ID      uint32
	Payload []byte
}

// ReadMessage reads one frame of at most limit bytes, header included, and
// leaves whatever follows it in r. It returns io.EOF only between messages; the
// length is checked before memory is taken.
func ReadMessage(r io.Reader, limit int) (Message, error) {
	var h [headerSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return Message{}, fmt.Errorf("llrp: stream ends in a message header: %w", err)
		}
		return Message{}, err
	}
	first := binary.BigEndian.Uint16(h[:2])
	m := Message{Version: uint8(first >> 10 & 7), Type: MessageType(first & 0x3ff), ID: binary.BigEndian.Uint32(h[6:])}
	n := binary.BigEndian.Uint32(h[2:6])
	if n < headerSize {
		return Message{}, fmt.Errorf("llrp: %v says it has %d bytes < %d of its header", m.Type, n, headerSize)
	}
	if int64(n) > int64(limit) {
		return Message{}, fmt.Errorf("llrp: %v of %d bytes > %d", m.Type, n, limit)
	}
	m.Payload = make([]byte, n-headerSize)
	if _, err := io.ReadFull(r, m.Payload); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return Message{}, fmt.Errorf("llrp: stream ends in %v of %d bytes: %w", m.Type, n, err)
	}
	return m, nil
}

// WriteMessage writes m in a single Write.
func WriteMessage(w io.Writer, m Message) error {
	b := make([]byte, 0, headerSize+len(m.Payload))
	b = binary.BigEndian.AppendUint16(b, uint16(m.Version&7)<<10|uint16(m.Type&0x3ff))
	b = binary.BigEndian.AppendUint32(b, uint32(headerSize+len(m.Payload)))
	b = binary.BigEndian.AppendUint32(b, m.ID)
	_, err := w.Write(append(b, m.Payload...))
	return err
}
