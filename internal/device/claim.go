package device

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"trailmark/internal/est"
)

// A Claim lets one device enrol: where, with which one-time code, and how the
// gateway there is known.
type Claim struct {
	Gateway     string // https URL
	Code        string
	Fingerprint [32]byte // SHA-256 of the DER of the gateway's CA certificate
}

// String is the claim as one URI, https://host:port/#code.fingerprint: short
// enough for a QR code, nothing in it that a shell would change. Code and
// fingerprint are its fragment, which no browser sends to a server.
func (c Claim) String() string {
	return c.Gateway + "/#" + c.Code + "." + hex.EncodeToString(c.Fingerprint[:])
}

const maxClaim = 512 // bytes

// ParseClaim reads what String wrote.
func ParseClaim(s string) (Claim, error) {
	const hint = "\nhint: copy the whole line that gateway claim printed, like https://10.0.0.5:8443/#ABC-DEF-GHJ.<64 hex digits>"
	address, fragment, ok := strings.Cut(s, "#")
	if !ok || len(s) > maxClaim {
		return Claim{}, errors.New("claim: it is no address with a code and a fingerprint" + hint)
	}
	base, err := est.ParseBase(address)
	if err != nil {
		return Claim{}, fmt.Errorf("claim: %w%s", err, hint)
	}
	code, digits, _ := strings.Cut(fragment, ".")
	c := Claim{Gateway: base.String(), Code: code}
	fingerprint, err := hex.DecodeString(digits)
	if err != nil || len(fingerprint) != len(c.Fingerprint) || code == "" {
		return Claim{}, errors.New("claim: it does not end in a code and a fingerprint" + hint)
	}
	copy(c.Fingerprint[:], fingerprint)
	return c, nil
}
