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
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"time"

	"trailmark/gateway/internal/diversion"
	"trailmark/internal/epc"
	"trailmark/passport"
)

// ErrNotYet says that no record of an item can be shown yet.
var ErrNotYet = errors.New("no record of this item yet")

// A ClientError is a request that is the client's to mend; its text is shown.
type ClientError struct {
	Status int // 400..499
	Detail string
}

func (e *ClientError) Error() string { return e.Detail }

// Options are what New needs; all but Audit, Scan, Scans, Findings, Alarms, Log and
// Location are required.
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
	Alarms   Alarms         // nil: there are none
	Private  bool           // only users of this machine can reach the pages
	Ledger   http.Handler   // serves /checkpoint, /tile/, /ledgers, /ledgers/ and /proof/
	Base     string         // scheme and host of the QR codes' addresses
	Location *time.Location // of the times on pages; nil: UTC
	Log      *slog.Logger   // nil: discarded
}

//go:embed pages
var pages embed.FS

type server struct {
	Options
	pages *template.Template
	style template.HTML // the <style> element
	csp   string
}

// New makes the handler. Timeouts are the server's to set.
func New(o Options) http.Handler {
	if o.Location == nil {
		o.Location = time.UTC
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &server{Options: o, pages: template.Must(template.ParseFS(pages, "pages/*.html"))}
	css, err := pages.ReadFile("pages/style.css")
	if err != nil {
		panic(err) // it is embedded
	}
	hash := sha256.Sum256(css)
	s.style = template.HTML("<style>" + string(css) + "</style>")
	s.csp = "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) +
		"'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

	mux := http.NewServeMux()
	handle := func(pattern string, h func(http.ResponseWriter, *http.Request) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := h(w, r); err != nil {
				s.fail(w, r, err)
			}
		})
	}
	handle("GET /{$}", s.status)
	handle("GET /01/{gtin}/21/{serial}", s.item)
	handle("GET /api/items/{gtin}/{serial}/scans", s.scans)
	handle("GET /api/findings", s.findings)
	handle("GET /qr/01/{gtin}/21/{file}", s.qr)
	handle("GET /trust", s.trust)
	handle("GET /healthz", func(w http.ResponseWriter, _ *http.Request) error {
		return write(w, "text/plain; charset=utf-8", []byte("ok\n"))
	})
	if o.Alarms != nil {
		s.alarmRoutes(handle)
	}
	mux.Handle("GET /checkpoint", o.Ledger)
	mux.Handle("GET /tile/", o.Ledger)
	mux.Handle("GET /ledgers", o.Ledger)
	mux.Handle("GET /ledgers/", o.Ledger)
	mux.Handle("GET /proof/", o.Ledger)
	return s.around(mux)
}

// around adds what every answer has, and turns the mux's own plain-text errors
// into ours.
func (s *server) around(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Security-Policy", s.csp)
		handler, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		probe := &headerOnly{header: http.Header{}, status: http.StatusOK}
		handler.ServeHTTP(probe, r)
		if probe.status == http.StatusMethodNotAllowed {
			allow := probe.header.Get("Allow")
			h.Set("Allow", allow)
			s.fail(w, r, &ClientError{probe.status, fmt.Sprintf("method %s is not allowed here; allowed: %s", r.Method, allow)})
			return
		}
		s.fail(w, r, &ClientError{http.StatusNotFound, "nothing is served at this address"})
	})
}

// headerOnly takes an answer's status and header and drops its body.
type headerOnly struct {
	header http.Header
	status int
}

func (p *headerOnly) Header() http.Header         { return p.header }
func (p *headerOnly) WriteHeader(status int)      { p.status = status }
func (p *headerOnly) Write(b []byte) (int, error) { return len(b), nil }

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
