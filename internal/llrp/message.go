// Package llrp is the part of EPCglobal's Low Level Reader Protocol that an
// inventory needs, as bytes: framing, parameters, and the bodies of about
// thirty messages, with what Impinj adds to name a tag's chip. Client and
// simulated reader share it; it opens no socket.
//
// It promises that decoding is bounded by the message at hand, never panics,
// and passes over parameters it does not know, whatever a vendor adds.
//
// Format: LLRP 1.0.1 and 1.1 (1 and 2 on the wire; a 1.1 reader speaks 1.0.1
// until told otherwise, and what is here is the same in both), all numbers
// big-endian.
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

// What the version field says for LLRP 1.0.1 and for 1.1.
const (
	Version   = 1
	Version11 = 2
)

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
	GetROSpecs                    MessageType = 26
	GetROSpecsResponse            MessageType = 36
	AddAccessSpec                 MessageType = 40
	AddAccessSpecResponse         MessageType = 50
	DeleteAccessSpec              MessageType = 41
	DeleteAccessSpecResponse      MessageType = 51
	EnableAccessSpec              MessageType = 42
	EnableAccessSpecResponse      MessageType = 52
	GetAccessSpecs                MessageType = 44
	GetAccessSpecsResponse        MessageType = 54
	GetSupportedVersion           MessageType = 46 // of LLRP 1.1, as the next three
	GetSupportedVersionResponse   MessageType = 56
	SetProtocolVersion            MessageType = 47
	SetProtocolVersionResponse    MessageType = 57
	ROAccessReport                MessageType = 61
	Keepalive                     MessageType = 62
	KeepaliveAck                  MessageType = 72
	ReaderEventNotification       MessageType = 63
	ErrorMessage                  MessageType = 100
	CustomMessage                 MessageType = 1023 // its own response as well
)

// messageNames are those of requests and of what has no response named after it.
var messageNames = map[MessageType]string{
	GetReaderCapabilities: "GET_READER_CAPABILITIES", SetReaderConfig: "SET_READER_CONFIG", CloseConnection: "CLOSE_CONNECTION",
	CloseConnectionResponse: "CLOSE_CONNECTION_RESPONSE", AddROSpec: "ADD_ROSPEC", DeleteROSpec: "DELETE_ROSPEC",
	StartROSpec: "START_ROSPEC", StopROSpec: "STOP_ROSPEC", EnableROSpec: "ENABLE_ROSPEC", GetROSpecs: "GET_ROSPECS",
	AddAccessSpec: "ADD_ACCESSSPEC", DeleteAccessSpec: "DELETE_ACCESSSPEC", EnableAccessSpec: "ENABLE_ACCESSSPEC",
	GetAccessSpecs: "GET_ACCESSSPECS", GetSupportedVersion: "GET_SUPPORTED_VERSION", SetProtocolVersion: "SET_PROTOCOL_VERSION",
	ROAccessReport: "RO_ACCESS_REPORT", Keepalive: "KEEPALIVE", KeepaliveAck: "KEEPALIVE_ACK",
	ReaderEventNotification: "READER_EVENT_NOTIFICATION", ErrorMessage: "ERROR_MESSAGE", CustomMessage: "CUSTOM_MESSAGE",
}

// Response returns the type that answers t, 0 if nothing here does.
func (t MessageType) Response() MessageType {
	switch t {
	case GetReaderCapabilities, SetReaderConfig, AddROSpec, DeleteROSpec, StartROSpec, StopROSpec, EnableROSpec, GetROSpecs,
		AddAccessSpec, DeleteAccessSpec, EnableAccessSpec, GetAccessSpecs, GetSupportedVersion, SetProtocolVersion:
		return t + 10
	case CloseConnection:
		return CloseConnectionResponse
	case Keepalive:
		return KeepaliveAck
	case CustomMessage:
		return CustomMessage
	}
	return 0
}

// String returns the name the standard uses, or the number.
func (t MessageType) String() string {
	if name, ok := messageNames[t]; ok {
		return name
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
