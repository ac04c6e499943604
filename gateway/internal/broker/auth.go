package broker

import (
	"crypto/subtle"
	"encoding/hex"
	"fmt"

	"github.com/nats-io/nats-server/v2/server"

	"trailmark/statement"
)

// maxConnections bounds what one look at the connections counts: more than a
// process has file descriptors for.
const maxConnections = 100_000

// gatewayUser is the user name of the gateway's own connection, which has no TLS:
// no device can have it.
const gatewayUser = "gateway"

// Check decides about one connection; nats-server calls it. The handshake has
// verified a device's certificate; its key says which device it is, and neither
// user name nor client id does.
func (b *Broker) Check(c server.ClientAuthentication) bool {
	state := c.GetTLSConnectionState()
	if state == nil {
		o := c.GetOpts()
		if o.Username == gatewayUser && subtle.ConstantTimeCompare([]byte(o.Password), []byte(b.secret)) == 1 {
			return true // without a registered user: no limits
		}
		b.unauthorized.Add(1)
		return false
	}
	if len(state.VerifiedChains) == 0 {
		b.unauthorized.Add(1)
		return false
	}
	key, err := statement.NewKey(state.PeerCertificates[0].PublicKey)
	if err != nil || !b.opts.Auth(key.ID()) {
		b.unauthorized.Add(1)
		return false
	}
	kid := key.ID().String()
	c.RegisterUser(&server.User{
		Username: kid,
		Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: []string{b.subject(kid, "up")}},
			Subscribe: &server.SubjectPermission{Allow: []string{b.subject(kid, "down")}},
		},
	})
	return true
}

// Connected are the devices that have a connection now.
func (b *Broker) Connected() (map[statement.Hash]bool, error) {
	open, err := b.srv.Connz(&server.ConnzOptions{Username: true, Limit: maxConnections})
	if err != nil {
		return nil, fmt.Errorf("broker: connections: %w", err)
	}
	out := make(map[statement.Hash]bool, len(open.Conns))
	for _, c := range open.Conns {
		var kid statement.Hash
		if n, err := hex.Decode(kid[:], []byte(c.AuthorizedUser)); err == nil && n == len(kid) {
			out[kid] = true
		}
	}
	return out, nil
}

// Disconnect ends a device's connections. Whether it may come back is Auth's to
// say.
func (b *Broker) Disconnect(kid string) error {
	open, err := b.srv.Connz(&server.ConnzOptions{Username: true, User: kid})
	if err != nil {
		return fmt.Errorf("broker: disconnect: %w", err)
	}
	for _, c := range open.Conns {
		_ = b.srv.DisconnectClientByID(c.Cid) // one that is gone by now is what was asked for
	}
	return nil
}
