package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	maxBatch  = 256                   // messages handed over together
	batchWait = 20 * time.Millisecond // how long the first one waits for others
	nakDelay  = time.Second           // pause before a refused message comes again
)

// A Message is what one device published. Exactly one of Ack and Nak settles
// it; a message left alone comes again after Options.AckWait.
type Message struct {
	Kid         string // key id of the authenticated device, 64 lower-case hex digits
	Data        []byte // at most MaxMessage bytes, as published; the receiver owns it
	Redelivered bool   // it was handed over before, perhaps to a process that died

	msg jetstream.Msg
}

// Ack says that the message is stored elsewhere and may be forgotten. It does
// not wait for the broker: a lost Ack is a redelivery.
func (m Message) Ack() error { return m.msg.Ack() }

// Nak asks for the message again in a second.
func (m Message) Nak() error { return m.msg.NakWithDelay(nakDelay) }

// Consume hands over what devices published, up to 256 messages or 20 ms
// together, one batch after the other, until ctx ends or the broker stops; it
// returns the reason. handle settles each message, after its own commit. A
// device's messages may come twice and out of order.
func (b *Broker) Consume(ctx context.Context, handle func(context.Context, []Message)) error {
	it, err := b.consumer.Messages(jetstream.PullMaxMessages(2 * maxBatch))
	if err != nil {
		return fmt.Errorf("broker: consume: %w", err)
	}
	defer giveBack(it)
	for {
		batch, err := b.collect(ctx, it)
		if len(batch) > 0 {
			handle(ctx, batch)
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, jetstream.ErrNoHeartbeat):
			b.log.Warn("broker is slow: no heartbeat") // the iterator asks again by itself
		case err != nil:
			return fmt.Errorf("broker: consume: %w", err)
		}
	}
}

// collect waits for one message and takes those that follow at once.
func (b *Broker) collect(ctx context.Context, it jetstream.MessagesContext) ([]Message, error) {
	msg, err := it.Next(jetstream.NextContext(ctx))
	if err != nil {
		return nil, err
	}
	var batch []Message
	deadline := time.Now().Add(batchWait)
	for {
		batch = b.take(batch, msg)
		left := time.Until(deadline)
		if len(batch) == maxBatch || left <= 0 {
			return batch, nil
		}
		if msg, err = it.Next(jetstream.NextMaxWait(left)); err != nil {
			if errors.Is(err, nats.ErrTimeout) {
				err = nil
			}
			return batch, err
		}
	}
}

// take adds msg to batch. Whatever is on a subject that is not a device's is
// dropped for good: permissions keep devices from writing such.
func (b *Broker) take(batch []Message, msg jetstream.Msg) []Message {
	kid, err := b.kid(msg.Subject())
	meta, err2 := msg.Metadata()
	if err := errors.Join(err, err2); err != nil {
		b.log.Error("message of no device", slog.String("subject", msg.Subject()), slog.Any("err", err))
		_ = msg.Term()
		return batch
	}
	return append(batch, Message{Kid: kid, Data: msg.Data(), Redelivered: meta.NumDelivered > 1, msg: msg})
}

// kid is the device in the subject tm.v1.<tenant>.<kid>.up.
func (b *Broker) kid(subject string) (string, error) {
	parts := strings.Split(subject, ".")
	if len(parts) != 5 || !kidForm.MatchString(parts[3]) || subject != b.subject(parts[3], "up") {
		return "", fmt.Errorf("subject %q is not %s", subject, b.subject("<kid>", "up"))
	}
	return parts[3], nil
}

// giveBack returns what was fetched and not handed over, so that the next
// Consume need not wait for AckWait.
func giveBack(it jetstream.MessagesContext) {
	it.Drain()
	for {
		msg, err := it.Next()
		if err != nil {
			return
		}
		_ = msg.Nak()
	}
}
