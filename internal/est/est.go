// Package est is enrolment over secure transport (RFC 7030): the messages that
// client and server share, and the client.
//
// It knows requests for certificates and certificates, nothing of statements. A
// request may be linked to the TLS connection that carries it (RFC 7030 section
// 3.5): its challengePassword is then the base64 of the connection's tls-exporter
// channel binding (RFC 9266), since TLS 1.3 has no tls-unique.
package est

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"strings"
)

// Paths below a server's address (RFC 7030 section 3.2.2).
const (
	PathCACerts  = "/.well-known/est/cacerts"
	PathEnroll   = "/.well-known/est/simpleenroll"
	PathReenroll = "/.well-known/est/simplereenroll"
	PathCSRAttrs = "/.well-known/est/csrattrs"
)

// Media types (RFC 7030 sections 3.2.4, 4.1.3, 4.5.2).
const (
	TypeRequest      = "application/pkcs10"
	TypeCertificates = "application/pkcs7-mime"
	TypeCSRAttrs     = "application/csrattrs"
)

// MaxRequest bounds the body of a request, in bytes of base64. A P-256 request
// takes about 500.
const MaxRequest = 16 << 10

// The exporter of RFC 9266 section 2.
const (
	exporterLabel  = "EXPORTER-Channel-Binding"
	exporterLength = 32
)

// Binding names a connection: the text that a request made for it carries. It
// fails below TLS 1.3 without the extended master secret.
func Binding(cs *tls.ConnectionState) (string, error) {
	b, err := cs.ExportKeyingMaterial(exporterLabel, nil, exporterLength)
	if err != nil {
		return "", fmt.Errorf("tls-exporter: %w", err)
	}
	return base64.StdEncoding.EncodeToString(b), nil
}

// encode is the base64 of a body, without line ends (RFC 8951 section 3).
func encode(der []byte) []byte {
	return base64.StdEncoding.AppendEncode(nil, der)
}

// decode reads base64 with or without line ends, as clients differ.
func decode(body []byte) ([]byte, error) {
	text := strings.Map(func(r rune) rune {
		switch r {
		case ' ', '\t', '\r', '\n':
			return -1
		}
		return r
	}, string(body))
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("body is not base64: %w", err)
	}
	return der, nil
}
