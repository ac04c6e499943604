package enrol

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"

	"trailmark/internal/device"
	"trailmark/internal/est"
	"trailmark/statement"
)

// maxReport bounds what a device says of itself, in bytes.
const maxReport = 64 << 10

// handler serves devices; it is safe for concurrent use.
type handler struct {
	office *Office
	ca     *CA
	log    *slog.Logger
}

// Handler serves EST (RFC 7030) and the devices' resource. Its server has the
// TLS of CA.ServerTLS and asks for certificates without checking them: here a
// refusal can say why. Refusals are plain text (RFC 7030 section 4.2.3).
func Handler(o *Office, ca *CA, log *slog.Logger) http.Handler {
	h := &handler{o, ca, log}
	mux := http.NewServeMux()
	for pattern, serve := range map[string]func(http.ResponseWriter, *http.Request) error{
		"GET " + est.PathCACerts:    h.caCerts,
		"GET " + est.PathCSRAttrs:   h.csrAttrs,
		"POST " + est.PathEnroll:    h.enroll,
		"POST " + est.PathReenroll:  h.reenroll,
		"GET " + device.PathDevice:  h.device,
		"POST " + device.PathDevice: h.describe,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Content-Type-Options", "nosniff")
			w.Header().Set("Cache-Control", "no-store")
			if err := serve(w, r); err != nil {
				h.fail(w, r, err)
			}
		})
	}
	return mux
}

// fail answers with a refusal's text, or with none but in the log.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, text := http.StatusInternalServerError, "the gateway could not answer; it is logged"
	var refused *Refusal
	if errors.As(err, &refused) {
		status, text = refused.Status, refused.Error()
	} else {
		h.log.Error("enrolment", slog.String("path", r.URL.Path), slog.Any("err", err))
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="claim code", charset="UTF-8"`)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n")
}

// send writes an answer; a client that went away is no error of ours.
func send(w http.ResponseWriter, contentType string, body []byte) error {
	w.Header().Set("Content-Type", contentType)
	_, _ = w.Write(body)
	return nil
}

func (h *handler) caCerts(w http.ResponseWriter, _ *http.Request) error {
	body, err := est.EncodeCertificates(h.ca.cert)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Transfer-Encoding", "base64")
	return send(w, est.TypeCertificates, body)
}

func (h *handler) csrAttrs(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Transfer-Encoding", "base64")
	return send(w, est.TypeCSRAttrs, est.CSRAttrs())
}

func (h *handler) enroll(w http.ResponseWriter, r *http.Request) error {
	_, code, ok := r.BasicAuth()
	if !ok {
		return refusef(http.StatusUnauthorized, "no claim code\nhint: give it as the password of HTTP Basic, with any user name")
	}
	key, name, err := h.request(w, r)
	if err != nil {
		return err
	}
	id, err := h.office.Admit(r.Context(), code, key, name)
	if err != nil {
		return err
	}
	h.log.Info("device enrolled", slog.String("subject", id.Subject), slog.String("name", id.Name),
		slog.String("key", key.ID().String()), slog.Bool("simulated", id.Simulated))
	return h.certify(w, id)
}

func (h *handler) reenroll(w http.ResponseWriter, r *http.Request) error {
	id, err := h.peer(r)
	if err != nil {
		return err
	}
	key, _, err := h.request(w, r)
	if err != nil {
		return err
	}
	if key.ID() != id.Key.ID() {
		if id, err = h.office.Succeed(r.Context(), id, key); err != nil {
			return err
		}
		h.log.Info("device goes on with another key", slog.String("subject", id.Subject), slog.String("key", key.ID().String()),
			slog.Uint64("epoch", id.Epoch))
	}
	return h.certify(w, id)
}

// certify answers with a certificate of a device's key.
func (h *handler) certify(w http.ResponseWriter, id *statement.Identity) error {
	cert, err := h.ca.Device(id.Key.Public(), id.Subject)
	if err != nil {
		return err
	}
	body, err := est.EncodeCertificates(cert)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Transfer-Encoding", "base64")
	return send(w, est.TypeCertificates+"; smime-type=certs-only", body)
}

// request reads a certificate request: a key, proven to be the sender's, and a
// name. One that is linked to a connection must be linked to this one; one that
// is not is taken, as tools like curl cannot: then only the request's signature
// and what authenticates the connection speak for it.
func (h *handler) request(w http.ResponseWriter, r *http.Request) (statement.Key, string, error) {
	body, err := read(w, r, est.TypeRequest, est.MaxRequest)
	if err != nil {
		return statement.Key{}, "", err
	}
	req, err := est.ParseRequest(body)
	if err != nil {
		return statement.Key{}, "", refusef(http.StatusBadRequest, "%v", err)
	}
	if req.Binding != "" {
		want, err := est.Binding(r.TLS)
		if err != nil {
			return statement.Key{}, "", err
		}
		if subtle.ConstantTimeCompare([]byte(req.Binding), []byte(want)) != 1 {
			return statement.Key{}, "", refusef(http.StatusForbidden, "the certificate request is linked to another connection\nhint: its challengePassword must be this connection's tls-exporter channel binding, or left out")
		}
	}
	key, err := statement.NewKey(req.Key)
	if err != nil {
		return statement.Key{}, "", refusef(http.StatusBadRequest, "device key: %v", err)
	}
	return key, req.Name, nil
}

// peer is the device that the connection's certificate names by its key, unless
// that is revoked.
func (h *handler) peer(r *http.Request) (*statement.Identity, error) {
	if len(r.TLS.PeerCertificates) == 0 {
		return nil, refusef(http.StatusUnauthorized, "no client certificate\nhint: enrol first, with a claim")
	}
	cert := r.TLS.PeerCertificates[0]
	if err := h.ca.Check(cert); err != nil {
		return nil, refusef(http.StatusForbidden, "client certificate: %v", err)
	}
	key, err := statement.NewKey(cert.PublicKey)
	if err != nil {
		return nil, refusef(http.StatusForbidden, "client certificate: %v", err)
	}
	id, known := h.office.gate.Identity(key.ID())
	if !known || id.Role != statement.RoleDevice {
		return nil, refusef(http.StatusForbidden, "client certificate: its key %.8s… is no device's", key.ID())
	}
	if err := h.office.revoked(key.ID()); err != nil {
		return nil, err
	}
	return id, nil
}

func (h *handler) device(w http.ResponseWriter, r *http.Request) error {
	id, err := h.peer(r)
	if err != nil {
		return err
	}
	a, err := h.office.Answer(r.Context(), id)
	return answer(w, a, err)
}

func (h *handler) describe(w http.ResponseWriter, r *http.Request) error {
	id, err := h.peer(r)
	if err != nil {
		return err
	}
	body, err := read(w, r, "application/json", maxReport)
	if err != nil {
		return err
	}
	var report device.Report
	if err := json.Unmarshal(body, &report); err != nil {
		return refusef(http.StatusBadRequest, "report: %v", err)
	}
	a, err := h.office.Describe(r.Context(), id, report)
	return answer(w, a, err)
}

func answer(w http.ResponseWriter, a *device.Answer, err error) error {
	if err != nil {
		return err
	}
	body, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return send(w, "application/json", body)
}

// read reads a body of a media type and of at most max bytes.
func read(w http.ResponseWriter, r *http.Request, mediaType string, max int64) ([]byte, error) {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != mediaType {
		return nil, refusef(http.StatusUnsupportedMediaType, "content type %q, want %s", r.Header.Get("Content-Type"), mediaType)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, max))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, refusef(http.StatusRequestEntityTooLarge, "body of over %d bytes", max)
	case err != nil:
		return nil, refusef(http.StatusBadRequest, "the body could not be read: %v", err)
	}
	return body, nil
}
