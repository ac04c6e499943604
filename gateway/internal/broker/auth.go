package broker

import (
	"crypto/subtle"

	"github.com/nats-io/nats-server/v2/server"
)

// gatewayUser is the user name of the gateway's own connection. It is not a
// kid, so no device can have it.
const gatewayUser = "gateway"

// Check decides about one connection; nats-server calls it.
func (b *Broker) Check(c server.ClientAuthentication) bool {
	o := c.GetOpts()
	if o.Username == gatewayUser && subtle.ConstantTimeCompare([]byte(o.Password), []byte(b.secret)) == 1 {
		return true // without a registered user: no limits
	}
	if !kidForm.MatchString(o.Username) || !b.opts.Auth(o.Username, o.Password) {
		b.unauthorized.Add(1)
		return false
	}
	c.RegisterUser(&server.User{
		Username: o.Username,
		Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: []string{b.subject(o.Username, "up")}},
			Subscribe: &server.SubjectPermission{Allow: []string{b.subject(o.Username, "down")}},
		},
	})
	return true
}
