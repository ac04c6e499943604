package fleet

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"trailmark/statement"
)

const (
	patience   = 30 * time.Second // for the broker's answers, and for its taking what we write
	keepAlive  = 30 * time.Second
	maxPacket  = statement.MaxSize + 4<<10 // bytes
	readBuffer = 2 << 10
)

// link is one MQTT 3.1.1 connection of a device: a lossy pipe, as an agent's is.
// Receive belongs to one goroutine; the rest is safe for concurrent use.
type link struct {
	net.Conn
	in *bufio.Reader

	mu sync.Mutex
	id uint16 // of our last packet; guarded by mu, which is held while writing
}

// dial connects as client name and subscribes to a topic.
func dial(ctx context.Context, address string, conf *tls.Config, name, topic string) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := (&tls.Dialer{Config: conf}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	l := &link{Conn: conn, in: bufio.NewReaderSize(conn, readBuffer)}
	if err := l.greet(name, topic); err != nil {
		conn.Close()
		return nil, err
	}
	return l, nil
}

func (l *link) greet(name, topic string) error {
	hello := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	hello.ProtocolName, hello.ProtocolVersion = "MQTT", 4
	hello.CleanSession, hello.Keepalive, hello.ClientIdentifier = true, uint16(keepAlive/time.Second), name
	if err := l.send(hello); err != nil {
		return err
	}
	p, err := l.receive()
	if err != nil {
		return err
	}
	if ack, ok := p.(*packets.ConnackPacket); !ok || ack.ReturnCode != packets.Accepted {
		return fmt.Errorf("the broker does not let us in: %v", p)
	}
	sub := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	sub.Topics, sub.Qoss = []string{topic}, []byte{0}
	if err := l.send(sub); err != nil {
		return err
	}
	if p, err = l.receive(); err != nil {
		return err
	}
	if ack, ok := p.(*packets.SubackPacket); !ok || len(ack.ReturnCodes) != 1 || ack.ReturnCodes[0] > 2 {
		return errors.New("the broker refuses the subscription")
	}
	return nil
}

// publish sends one message. That it is written says nothing of its arrival.
func (l *link) publish(topic string, data []byte) error {
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.Qos, p.TopicName, p.Payload = 1, topic, data
	return l.send(p)
}

func (l *link) ping() error { return l.send(packets.NewControlPacket(packets.Pingreq)) }

func (l *link) send(p packets.ControlPacket) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch p := p.(type) {
	case *packets.PublishPacket:
		p.MessageID = l.next()
	case *packets.SubscribePacket:
		p.MessageID = l.next()
	}
	if err := l.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	return p.Write(l.Conn)
}

// next is a packet id, which is never 0. The caller holds l.mu.
func (l *link) next() uint16 {
	if l.id++; l.id == 0 {
		l.id = 1
	}
	return l.id
}

// message returns the payload of the next message to us and acknowledges it.
func (l *link) message() ([]byte, error) {
	for {
		p, err := l.receive()
		if err != nil {
			return nil, err
		}
		m, ok := p.(*packets.PublishPacket)
		if !ok {
			continue // a PUBACK proves nothing, a PINGRESP has done its work by coming
		}
		if m.Qos > 0 {
			ack := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
			ack.MessageID = m.MessageID
			if err := l.send(ack); err != nil {
				return nil, err
			}
		}
		return m.Payload, nil
	}
}

// receive reads one packet. The library takes the sender's word for its length,
// so that is looked at first.
func (l *link) receive() (packets.ControlPacket, error) {
	if err := l.SetReadDeadline(time.Now().Add(keepAlive + patience)); err != nil {
		return nil, err
	}
	length := 0
	for i := 1; ; i++ {
		head, err := l.in.Peek(i + 1)
		if err != nil {
			return nil, err
		}
		length |= int(head[i]&0x7f) << (7 * (i - 1))
		if head[i]&0x80 == 0 {
			break
		}
		if i == 4 {
			return nil, errors.New("a packet's length has more than 4 bytes")
		}
	}
	if length > maxPacket {
		return nil, fmt.Errorf("packet of %d bytes is over the limit of %d", length, maxPacket)
	}
	return packets.ReadPacket(l.in)
}
