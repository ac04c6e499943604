package shard

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"trailmark/gateway/internal/ledger"
	"trailmark/gateway/internal/store"
	"trailmark/statement"
)

// Path is where a ledger's files are served, for ever.
func Path(origin string) string {
	if o, err := statement.ParseOrigin(origin); err == nil {
		return "/ledgers/" + o.Name()
	}
	return "/ledgers/unnamed"
}

// Handler serves every ledger read-only:
//
//	/ledgers                              which there are
//	/ledgers/<year>h<half>/checkpoint     C2SP tlog-tiles of one ledger,
//	/ledgers/<year>h<half>/tile/…         to be kept for ever
//	/ledgers/<year>h<half>/proof/…        its proofs
//	/checkpoint, /tile/…, /proof/…        the same of the current ledger
//
// Inclusion proofs below /proof/ are of whichever ledger has the entry.
func (s *Shelf) Handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, h func(http.ResponseWriter, *http.Request, Book) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			b, ok := s.at(r)
			err := error(&clientError{http.StatusNotFound, fmt.Sprintf("no ledger of half-year %q; /ledgers lists them", r.PathValue("half"))})
			if ok {
				err = h(w, r, b)
			}
			if err != nil {
				s.fail(w, r, err)
			}
		})
	}
	files := func(w http.ResponseWriter, r *http.Request, b Book) error {
		if r.PathValue("half") == "" {
			b.Alias().ServeHTTP(w, r)
		} else {
			http.StripPrefix(Path(b.Origin()), b.Handler()).ServeHTTP(w, r)
		}
		return nil
	}
	for _, below := range []string{"", "/ledgers/{half}"} {
		handle("GET "+below+"/checkpoint", files)
		handle("GET "+below+"/tile/", files)
		handle("GET "+below+"/proof/inclusion", s.inclusion)
		handle("GET "+below+"/proof/consistency", s.consistency)
	}
	mux.HandleFunc("GET /ledgers", s.list)
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, &clientError{http.StatusNotFound, "nothing is served at this address"})
	})
	return mux
}

// at is the ledger that a request names, or the current one.
func (s *Shelf) at(r *http.Request) (Book, bool) {
	half := r.PathValue("half")
	if half == "" {
		return s.Current(), true
	}
	for _, b := range s.Books() {
		if Path(b.Origin()) == "/ledgers/"+half {
			return b, true
		}
	}
	return Book{}, false
}

// A clientError is a request that is the client's to mend.
type clientError struct {
	status int
	detail string
}

func (e *clientError) Error() string { return e.detail }

// fail answers with a problem (RFC 9457).
func (s *Shelf) fail(w http.ResponseWriter, r *http.Request, err error) {
	c := &clientError{http.StatusInternalServerError, "the gateway could not answer; it is logged"}
	if !errors.As(err, &c) {
		s.o.Log.Error("ledger request", slog.String("path", r.URL.Path), slog.Any("err", err))
	}
	w.Header().Set("Cache-Control", "no-store")
	write(w, c.status, "application/problem+json", map[string]any{"title": http.StatusText(c.status), "status": c.status, "detail": c.detail})
}

func write(w http.ResponseWriter, status int, contentType string, v any) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Access-Control-Allow-Origin", "*") // the log is public
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // a client that went away is no error of ours
}

// listed is what the list says of a ledger.
type listed struct {
	Origin string `json:"origin"`
	Path   string `json:"path"`
	Key    string `json:"verifier_key"` // C2SP signed note
	Size   uint64 `json:"size"`         // of the newest checkpoint
	Closed bool   `json:"closed"`       // no entry comes any more
}

func (s *Shelf) list(w http.ResponseWriter, r *http.Request) {
	out := []listed{}
	for _, b := range s.Books() {
		l := listed{Origin: b.Origin(), Path: Path(b.Origin()), Closed: b.End != Open}
		key, err := ledger.NewKey(b.Origin(), s.o.Signer)
		if err == nil {
			l.Key = key.VerifierKey()
			l.Size, err = s.signed(r, b)
		}
		if err != nil {
			s.fail(w, r, err)
			return
		}
		out = append(out, l)
	}
	w.Header().Set("Cache-Control", "no-cache")
	write(w, http.StatusOK, "application/json", map[string]any{"ledgers": out})
}

// signed is the size of a ledger's newest checkpoint, 0: there is none.
func (s *Shelf) signed(r *http.Request, b Book) (uint64, error) {
	raw, err := b.Checkpoint(r.Context())
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	return sizeOf(raw)
}

// sizeOf reads the size of a checkpoint that the ledger has verified.
func sizeOf(note []byte) (uint64, error) {
	lines := strings.SplitN(string(note), "\n", 3)
	if len(lines) < 3 {
		return 0, errors.New("checkpoint of fewer than three lines")
	}
	return strconv.ParseUint(lines[1], 10, 53)
}

// query reads the parameters of a request: those named, each at most once, and no
// others.
func query(r *http.Request, names ...string) (map[string]string, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, &clientError{http.StatusBadRequest, "the query is malformed"}
	}
	out := map[string]string{}
	for _, n := range names {
		if len(q[n]) == 1 && q[n][0] != "" {
			out[n] = q[n][0]
			delete(q, n)
		}
	}
	for n := range q {
		return nil, &clientError{http.StatusBadRequest, fmt.Sprintf("parameter %.40q is not one of %s, given once", n, strings.Join(names, ", "))}
	}
	return out, nil
}

func number(q map[string]string, name string, otherwise uint64) (uint64, error) {
	text, given := q[name]
	if !given {
		return otherwise, nil
	}
	n, err := strconv.ParseUint(text, 10, 53)
	if err != nil || strconv.FormatUint(n, 10) != text {
		return 0, &clientError{http.StatusBadRequest, fmt.Sprintf("%s=%.40q is no number", name, text)}
	}
	return n, nil
}

// inclusionProof is the JSON of an inclusion proof; byte strings are hex.
type inclusionProof struct {
	Origin     string   `json:"origin"`
	Path       string   `json:"path"`
	Entry      string   `json:"entry"`
	Index      uint64   `json:"index"`
	Size       uint64   `json:"size"`
	Root       string   `json:"root"`
	Proof      []string `json:"proof"`                // RFC 9162, from the leaf up
	Checkpoint string   `json:"checkpoint,omitempty"` // of that size, where it is the newest
}

// inclusion proves an entry by its hash, at a size or at the newest checkpoint.
func (s *Shelf) inclusion(w http.ResponseWriter, r *http.Request, b Book) error {
	q, err := query(r, "entry", "size", "format")
	if err != nil {
		return err
	}
	entry, err := hex.DecodeString(q["entry"])
	if err != nil || len(entry) != len(statement.Hash{}) {
		return &clientError{http.StatusBadRequest, "entry=… is the ledger entry, SHA-256 of the encoded statement, in 64 hex digits"}
	}
	unknown := &clientError{http.StatusNotFound, "no ledger here has this entry"}
	row, err := s.o.Store.IndexOf(r.Context(), statement.Hash(entry))
	if errors.Is(err, store.ErrNotFound) {
		return unknown
	} else if err != nil {
		return err
	}
	if of := s.Of(row); of.N != b.N {
		if r.PathValue("half") != "" {
			return &clientError{http.StatusNotFound, "this ledger does not have the entry; " + Path(of.Origin()) + " does"}
		}
		b = of
	}
	raw, err := b.Checkpoint(r.Context())
	if errors.Is(err, fs.ErrNotExist) {
		return unknown
	} else if err != nil {
		return err
	}
	newest, err := sizeOf(raw)
	if err != nil {
		return err
	}
	size, err := number(q, "size", newest)
	if err != nil {
		return err
	}
	index := b.Index(row)
	switch {
	case size > newest:
		return &clientError{http.StatusNotFound, fmt.Sprintf("size %d is not signed yet, the newest checkpoint is of %d entries", size, newest)}
	case index >= size:
		return &clientError{http.StatusNotFound, fmt.Sprintf("the entry has index %d, which is not among the first %d", index, size)}
	}
	path, err := b.Inclusion(r.Context(), index, size)
	if err != nil {
		return err
	}
	cache(w, q, "size")
	switch q["format"] {
	case "", "json":
		root, err := b.Root(r.Context(), size)
		if err != nil {
			return err
		}
		out := inclusionProof{b.Origin(), Path(b.Origin()), q["entry"], index, size, hex.EncodeToString(root[:]), inHex(path), ""}
		if size == newest {
			out.Checkpoint = string(raw)
		}
		write(w, http.StatusOK, "application/json", out)
	case "tlog-proof":
		if size != newest {
			return &clientError{http.StatusBadRequest, "a tlog-proof carries a checkpoint: leave size out"}
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Access-Control-Allow-Origin", "*")
		_, _ = w.Write(tlogProof(index, path, raw)) // a client that went away is no error of ours
	default:
		return &clientError{http.StatusBadRequest, fmt.Sprintf("format=%.40q is neither json nor tlog-proof", q["format"])}
	}
	return nil
}

// tlogProof is an inclusion proof as C2SP tlog-proof text.
func tlogProof(index uint64, path [][]byte, checkpoint []byte) []byte {
	out := fmt.Appendf(nil, "c2sp.org/tlog-proof@v1\nindex %d\n", index)
	for _, h := range path {
		out = append(base64.StdEncoding.AppendEncode(out, h), '\n')
	}
	return append(append(out, '\n'), checkpoint...)
}

// consistencyProof is the JSON of a consistency proof.
type consistencyProof struct {
	Origin     string   `json:"origin"`
	First      uint64   `json:"first"`
	FirstRoot  string   `json:"first_root"`
	Second     uint64   `json:"second"`
	SecondRoot string   `json:"second_root"`
	Proof      []string `json:"proof"`                // RFC 9162
	Checkpoint string   `json:"checkpoint,omitempty"` // of the second size, where it is the newest
}

// consistency proves that the ledger of one size is the beginning of the one of
// another, or of the newest checkpoint.
func (s *Shelf) consistency(w http.ResponseWriter, r *http.Request, b Book) error {
	q, err := query(r, "first", "second")
	if err != nil {
		return err
	}
	raw, err := b.Checkpoint(r.Context())
	if errors.Is(err, fs.ErrNotExist) {
		return &clientError{http.StatusNotFound, "nothing is signed yet"}
	} else if err != nil {
		return err
	}
	newest, err := sizeOf(raw)
	if err != nil {
		return err
	}
	if _, given := q["first"]; !given {
		return &clientError{http.StatusBadRequest, "first=… is the smaller size; second=… is the larger one, or the newest checkpoint's"}
	}
	first, err := number(q, "first", 0)
	if err != nil {
		return err
	}
	second, err := number(q, "second", newest)
	if err != nil {
		return err
	}
	switch {
	case second > newest:
		return &clientError{http.StatusNotFound, fmt.Sprintf("size %d is not signed yet, the newest checkpoint is of %d entries", second, newest)}
	case first > second:
		return &clientError{http.StatusBadRequest, fmt.Sprintf("first=%d is over second=%d", first, second)}
	}
	out := consistencyProof{Origin: b.Origin(), First: first, Second: second}
	root1, err := b.Root(r.Context(), first)
	if err != nil {
		return err
	}
	root2, err := b.Root(r.Context(), second)
	if err != nil {
		return err
	}
	path, err := b.Consistency(r.Context(), first, second)
	if err != nil {
		return err
	}
	out.FirstRoot, out.SecondRoot, out.Proof = hex.EncodeToString(root1[:]), hex.EncodeToString(root2[:]), inHex(path)
	if second == newest {
		out.Checkpoint = string(raw)
	}
	cache(w, q, "second")
	write(w, http.StatusOK, "application/json", out)
	return nil
}

// cache lets a proof between fixed sizes be kept for a while; it would stay true for
// ever, but the current ledger's address is another ledger's one day.
func cache(w http.ResponseWriter, q map[string]string, fixed string) {
	if _, ok := q[fixed]; ok {
		w.Header().Set("Cache-Control", "public, max-age=300")
	} else {
		w.Header().Set("Cache-Control", "no-cache")
	}
}

func inHex(path [][]byte) []string {
	out := make([]string, len(path))
	for i, h := range path {
		out[i] = hex.EncodeToString(h)
	}
	return out
}
