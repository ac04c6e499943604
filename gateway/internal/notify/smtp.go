package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/wneessen/go-mail"
)

// mail sends one mail, over TLS or not at all. Its Message-ID is the notice's key,
// so that a repetition is seen as one.
func (t *Target) mail(ctx context.Context, d *net.Dialer, key string, m Message, now time.Time) error {
	host, port, err := net.SplitHostPort(t.Server)
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return &Refusal{fmt.Sprintf("port %q is none", port)}
	}
	conf := &tls.Config{ServerName: host, RootCAs: t.roots, MinVersion: tls.VersionTLS12}
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		if t.TLS == "tls" {
			return (&tls.Dialer{NetDialer: d, Config: conf}).DialContext(ctx, network, address)
		}
		return d.DialContext(ctx, network, address)
	}
	options := []mail.Option{mail.WithPort(number), mail.WithTLSConfig(conf), mail.WithDialContextFunc(dial), mail.WithTimeout(attempt)}
	if t.TLS == "tls" {
		// The connection is TLS already. Told so with WithSSL, the library takes a
		// dialer of one's own for an open line and offers no password.
		options = append(options, mail.WithTLSPolicy(mail.TLSOpportunistic))
	} else {
		options = append(options, mail.WithTLSPolicy(mail.TLSMandatory))
	}
	if t.User != "" {
		options = append(options, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(t.User), mail.WithPassword(t.Password))
	}
	client, err := mail.NewClient(host, options...)
	if err != nil {
		return err
	}
	msg := mail.NewMsg()
	if err := errors.Join(msg.From(t.From), msg.To(t.To...)); err != nil {
		return &Refusal{err.Error()}
	}
	msg.Subject(m.Title())
	msg.SetDateWithValue(now)
	msg.SetMessageIDWithValue(key + "@trailmark.gateway")
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.SetBodyString(mail.TypeTextPlain, m.Text())
	err = client.DialAndSendWithContext(ctx, msg)
	var failed *mail.SendError
	if errors.As(err, &failed) && !failed.IsTemp() && failed.ErrorCode() >= 500 {
		return &Refusal{"mail: " + failed.Error()}
	}
	if err != nil {
		return fmt.Errorf("mail: %w", err)
	}
	return nil
}
