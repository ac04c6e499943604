// Package api is the gateway's HTTP side: the page a shopper sees after scanning
// an item's QR code, the passport file behind it, one status page for staff,
// the trust file and the ledger's tiles.
//
// It promises nothing that a page cannot promise: the consumer page is made by
// the operator and says so, and offers the file that anyone can check elsewhere.
// Pages are plain HTML without scripts or anything from other hosts. Errors are
// RFC 9457 problem details, or a page for a client that asks for HTML.
package api

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"trailmark/gateway/internal/diversion"
	"trailmark/gateway/internal/route"
	"trailmark/internal/epc"
	"trailmark/passport"
	"trailmark/statement"
)

// ErrNotYet says that no record of an item can be shown yet.
var ErrNotYet = errors.New("no record of this item yet")

// A ClientError is a request that is the client's to mend; its text is shown.
type ClientError = route.Error

// Options are what New needs; Compose, Trust, TrustFile, Status,
// Ledger and Base are required.
type Options struct {
	// Compose gives an item's passport file, or an error that is ErrNotYet. It is
	// called for each view, at once from many goroutines.
	Compose func(ctx context.Context, item epc.Link) ([]byte, error)
	// Audit is Compose with every reading, for ?audit; nil: there is none.
	Audit func(ctx context.Context, item epc.Link) ([]byte, error)
	// Trust is what the consumer page verifies with; TrustFile is its encoding,
	// for download.
	Trust     *passport.Trust
	TrustFile []byte
	Status    func(ctx context.Context) (Status, error)
	// Scan counts that an item's page was opened, after it was sent; Scans tells the
	// counts. nil: nobody counts.
	Scan  func(ctx context.Context, item epc.Link) error
	Scans func(ctx context.Context, item epc.Link) (diversion.Scans, error)
	// Findings are the newest findings of copies and diversions; nil: they are not
	// for whoever reaches these pages.
	Findings func(ctx context.Context) ([]diversion.Finding, error)
	// Product is the newest signed word on a GTIN, nil if there is none; nil: of no
	// product is anything known.
	Product func(ctx context.Context, gtin string) (*Product, error)
	// Seen reports whether Compose has a record of an item; nil: Compose is asked.
	Seen     func(ctx context.Context, item epc.Link) (bool, error)
	Links    []Link         // for the resolver to list besides our own
	Name     string         // of the organisation
	Alarms   Alarms         // nil: there are none
	Private  bool           // only users of this machine can reach the pages
	Ledger   http.Handler   // serves /checkpoint, /tile/, /ledgers, /ledgers/ and /proof/
	More     route.Table    // served besides
	Base     string         // scheme and host of the QR codes' addresses
	Location *time.Location // of the times on pages; nil: UTC
	Log      *slog.Logger   // nil: discarded
}

// Product is what a page says of a GTIN.
type Product struct {
	GTIN        string
	Name, Brand statement.Texts
	Rule        []statement.Criterion
	Statement   statement.Hash
	Picture     string // path here, "": none
}

//go:embed pages
var pages embed.FS

type server struct {
	Options
	pages    *template.Template
	style    template.HTML // the <style> element
	csp      string
	table    route.Table
	document []byte // OpenAPI
}

// A Site is everything that is served.
type Site struct {
	http.Handler
	table route.Table
}

// Routes are what the site serves.
func (s *Site) Routes() route.Table { return s.table }

// New makes the site. Timeouts are the server's to set.
func New(o Options) (*Site, error) {
	if o.Location == nil {
		o.Location = time.UTC
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &server{Options: o, pages: template.Must(template.ParseFS(pages, "pages/*.html"))}
	css, err := pages.ReadFile("pages/style.css")
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(css)
	s.style = template.HTML("<style>" + string(css) + "</style>")
	s.csp = "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) +
		"'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	s.table = slices.Concat(s.routes(), s.scanRoutes(), s.ledgerRoutes(), o.More)
	if o.Alarms != nil {
		s.table = append(s.table, s.alarmRoutes()...)
	}
	if err := s.table.Check(); err != nil {
		return nil, err
	}
	if s.document, err = s.table.Document(strings.TrimRight(o.Base, "/")); err != nil {
		return nil, err
	}
	return &Site{s.around(s.table.Handler(s.fail)), s.table}, nil
}

// around adds what every answer has.
func (s *server) around(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Security-Policy", s.csp)
		inner.ServeHTTP(w, r)
	})
}

func write(w http.ResponseWriter, contentType string, body []byte) error {
	w.Header().Set("Content-Type", contentType)
	_, _ = w.Write(body) // a client that went away is no error of ours
	return nil
}

func (s *server) trust(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Disposition", `attachment; filename="trust.cbor"`)
	w.Header().Set("Cache-Control", "no-cache")
	return write(w, "application/cbor", s.TrustFile)
}
