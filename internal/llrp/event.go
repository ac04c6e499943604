package llrp

import (
	"encoding/binary"
	"errors"
	"strconv"
)

// A ConnectionAttempt says how the reader took a connection.
type ConnectionAttempt uint16

const (
	Connected        ConnectionAttempt = 0
	ReaderInitiated  ConnectionAttempt = 1 // refused: the reader itself called another client
	ClientInitiated  ConnectionAttempt = 2 // refused: another client is connected
	AttemptFailed    ConnectionAttempt = 3 // refused: any other reason
	AnotherAttempted ConnectionAttempt = 4 // to the connected client: somebody else tried
)

func (a ConnectionAttempt) String() string {
	switch a {
	case Connected:
		return "connected"
	case ReaderInitiated:
		return "refused: the reader called another client"
	case ClientInitiated:
		return "refused: another client is connected"
	case AttemptFailed:
		return "refused: no reason given"
	case AnotherAttempted:
		return "another client tried to connect"
	}
	return "connection attempt status " + strconv.Itoa(int(a))
}

// ROSpecEvent types.
const (
	ROSpecStarted   = 0
	ROSpecEnded     = 1
	ROSpecPreempted = 2
)

// A ROSpecEvent says what became of an ROSpec.
type ROSpecEvent struct {
	Type uint8
	ID   uint32
	By   uint32 // the ROSpec that pre-empted it
}

// An AntennaEvent says that an antenna came or went.
type AntennaEvent struct {
	Antenna   uint16
	Connected bool
}

// An Event is the payload of READER_EVENT_NOTIFICATION: a time and, as a rule,
// one thing that happened.
type Event struct {
	Time      uint64 // µs of the reader's clock, which nobody checked
	Uptime    bool   // Time counts from the reader's start, not from 1970
	Attempt   *ConnectionAttempt
	Closed    bool // the reader closes the connection
	ROSpec    *ROSpecEvent
	Antenna   *AntennaEvent
	Exception *string // the first 1024 bytes are sent
	Overflow  bool    // reports were lost in the reader
}

// Encode returns the payload.
func (e Event) Encode() []byte {
	return appendTLV(nil, pEventData, func(b []byte) []byte {
		stamp := pUTCTimestamp
		if e.Uptime {
			stamp = pUptime
		}
		b = appendTLV(b, stamp, func(b []byte) []byte { return binary.BigEndian.AppendUint64(b, e.Time) })
		if e.ROSpec != nil {
			b = appendTLV(b, pROSpecEvent, func(b []byte) []byte {
				b = binary.BigEndian.AppendUint32(append(b, e.ROSpec.Type), e.ROSpec.ID)
				return binary.BigEndian.AppendUint32(b, e.ROSpec.By)
			})
		}
		if e.Overflow {
			b = bytesTLV(b, pBufferOverflow)
		}
		if e.Exception != nil {
			b = appendTLV(b, pReaderException, func(b []byte) []byte { return appendText(b, *e.Exception) })
		}
		if a := e.Antenna; a != nil {
			b = bytesTLV(b, pAntennaEvent, flag(a.Connected)>>7, byte(a.Antenna>>8), byte(a.Antenna))
		}
		if a := e.Attempt; a != nil {
			b = bytesTLV(b, pConnectionAttempt, byte(*a>>8), byte(*a))
		}
		if e.Closed {
			b = bytesTLV(b, pConnectionCloseEvent)
		}
		return b
	})
}

// DecodeEvent reads READER_EVENT_NOTIFICATION. Events it has no field for leave
// only the time.
func DecodeEvent(payload []byte) (Event, error) {
	for p, err := range Params(payload) {
		if err != nil {
			return Event{}, err
		}
		if p.Type == pEventData {
			return decodeEvent(p.Data)
		}
	}
	return Event{}, errors.New("llrp: notification has no event")
}

func decodeEvent(b []byte) (Event, error) {
	var e Event
	for p, err := range Params(b) {
		if err != nil {
			return Event{}, err
		}
		f := fields{b: p.Data}
		switch p.Type {
		case pUTCTimestamp, pUptime:
			e.Time, e.Uptime = f.u64(), p.Type == pUptime
		case pROSpecEvent:
			e.ROSpec = &ROSpecEvent{Type: f.u8(), ID: f.u32(), By: f.u32()}
		case pBufferOverflow:
			e.Overflow = true
		case pReaderException:
			e.Exception = new(f.text())
		case pAntennaEvent:
			e.Antenna = &AntennaEvent{Connected: f.u8() == 1, Antenna: f.u16()}
		case pConnectionAttempt:
			e.Attempt = new(ConnectionAttempt(f.u16()))
		case pConnectionCloseEvent:
			e.Closed = true
		}
		if f.err != nil {
			return Event{}, f.err
		}
	}
	return e, nil
}
