package notify

import (
	"fmt"
	"net/netip"
	"syscall"
)

// reserved are the networks that no public service is in: IANA's special-purpose
// registries, and what carries an address of the other family inside.
var reserved = func() (out []netip.Prefix) {
	for _, s := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
		"192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
		"::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
	} {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}()

// A guard says which addresses may be dialled. It is asked for the address that
// the name was resolved to, so that a name which resolves otherwise the second
// time is of no use.
type guard struct {
	own []netip.Prefix // networks of one's own that may be
}

// control is a net.Dialer's ControlContext without its context.
func (g guard) control(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("address %q: %w", address, err)
	}
	return g.check(at.Addr())
}

func (g guard) check(a netip.Addr) error {
	a = a.Unmap().WithZone("")
	for _, p := range g.own {
		if p.Contains(a) {
			return nil
		}
	}
	for _, p := range reserved {
		if p.Contains(a) {
			return fmt.Errorf("%s is in %s, which is not a public network\nhint: name one's own networks in own_networks", a, p)
		}
	}
	return nil
}
