// Package epcis is the gateway's EPCIS 2.0 side: events are captured as signed
// statements and asked for again, and what the gateway's own devices saw and
// measured goes out as events that a partner's repository can take.
//
// An event is stored with its document, its seed and the leaves of its objects in
// one transaction, behind each object's newest event. Only its statement goes into
// the ledger: the document lists siblings, and stays deletable.
//
// Whatever comes in here is somebody's word, the organisation's or a partner's: a
// sensor that enters by capture is declared, and is never mixed with readings that
// a device signed.
package epcis

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"trailmark/gateway/internal/epcis/document"
	"trailmark/gateway/internal/ingest"
	"trailmark/gateway/internal/store"
	"trailmark/statement"
)

// A Desk stores what is captured.
type Desk interface {
	// Capture runs fn in one transaction. When it returns nil, what fn added is
	// durable, in the store and in the archive; when not, nothing is stored.
	Capture(ctx context.Context, fn func(*ingest.Capture) error) error

	// Identity and Plan are what the ledger knows.
	Identity(kid statement.Hash) (*statement.Identity, bool)
	Plan(id statement.Hash) (*statement.Plan, bool)
}

// Options are what New needs; Log and Now may be nil.
type Options struct {
	Store *store.Store
	Desk  Desk
	// Sign signs an event with the organisation's key, or fails with NoKey.
	Sign func(*statement.Event) (*statement.Statement, error)
	// Add stores a change of custody, which SignHandover or SignAcceptance signed as
	// Issuer. When it returns nil it is durable.
	Add            func(context.Context, *statement.Statement) error
	SignHandover   func(*statement.Handover) (*statement.Statement, error)
	SignAcceptance func(*statement.Acceptance) (*statement.Statement, error)
	Issuer         string
	// Zone is the URI of a zone, as place of what devices saw there.
	Zone func(site, zone string) string
	// Open: whoever reaches the pages is a user of this machine. Else everything here
	// is refused, since there are no accounts yet.
	Open bool
	Now  func() time.Time
	Log  *slog.Logger
}

// A Repository captures and answers. It is safe for concurrent use.
type Repository struct{ Options }

// New makes a Repository.
func New(o Options) *Repository {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Repository{o}
}

// A Problem is an RFC 9457 problem with the standard's exception as its type.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`

	// Errors are what is wrong with a document, each with its JSON path.
	Errors document.Errors `json:"errors,omitempty"`
}

func (p *Problem) Error() string {
	if len(p.Errors) > 0 {
		return p.Errors.Error()
	}
	return p.Detail
}

// Types of problems, of the standard.
const (
	validation  = "epcisException:ValidationException"
	parameter   = "epcisException:QueryParameterException"
	notFound    = "epcisException:NoSuchResourceException"
	duplicate   = "epcisException:ResourceAlreadyExistsException"
	tooLarge    = "epcisException:CaptureLimitExceededException"
	notAllowed  = "epcisException:SecurityException"
	unsupported = "epcisException:UnsupportedMediaTypeException"
)

func problemf(status int, kind, format string, args ...any) *Problem {
	return &Problem{Type: kind, Title: http.StatusText(status), Status: status, Detail: fmt.Sprintf(format, args...)}
}

// NoKey is Sign's answer where nobody vouched for the organisation's key.
func NoKey() error {
	return problemf(http.StatusServiceUnavailable, "epcisException:ImplementationException", "nobody vouched for the organisation's key here, so nothing can be signed; bring the authority's folder back and start the gateway once")
}

// A Job is what became of a capture. It is made whole before it is told of: no
// capture goes on after its answer.
type Job struct {
	ID        string     `json:"captureID"`
	Created   time.Time  `json:"createdAt"`
	Finished  time.Time  `json:"finishedAt"`
	Running   bool       `json:"running"`
	Success   bool       `json:"success"`
	Behaviour string     `json:"captureErrorBehaviour"` // "rollback" or "proceed"
	Errors    []*Problem `json:"errors"`
	Events    []Captured `json:"trailmark:events"`
}

// Captured is one event of a job.
type Captured struct {
	EventID   string `json:"eventID"`
	Statement string `json:"trailmark:statement"` // id of the one that says it
	Known     bool   `json:"trailmark:known"`     // it was there before, and nothing was added
}

// Capture stores a document's events, all or none, or, with proceed, those that are
// right. The error is a *Problem when it is the sender's to mend; nothing is stored
// then. When it is nil, what the job names is durable.
func (r *Repository) Capture(ctx context.Context, data []byte, proceed bool) (*Job, error) {
	all, err := document.Parse(data)
	if err != nil {
		p := problemf(http.StatusBadRequest, validation, "the document is not right")
		if !errors.As(err, &p.Errors) {
			p.Detail = err.Error()
		}
		return nil, p
	}
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return nil, err
	}
	job := &Job{ID: hex.EncodeToString(id), Created: r.Now().UTC(), Behaviour: "rollback", Errors: []*Problem{}, Events: []Captured{}}
	if proceed {
		job.Behaviour = "proceed"
	}
	var wrong document.Errors
	for _, one := range all {
		wrong = append(wrong, one.Errors...)
	}
	if len(wrong) > 0 {
		p := problemf(http.StatusBadRequest, validation, "%d of %d events are not right", refused(all), len(all))
		if p.Errors = wrong; !proceed {
			return nil, p
		}
		job.Errors = append(job.Errors, p)
	}
	err = r.Desk.Capture(ctx, func(c *ingest.Capture) error {
		for i, one := range all {
			if one.Event == nil {
				continue
			}
			done, err := r.add(c, one.Event)
			var p *Problem
			if errors.As(err, &p) {
				p.Detail = fmt.Sprintf("event %d: %s", i, p.Detail)
				if !proceed {
					return p
				}
				job.Errors = append(job.Errors, p)
				continue
			} else if err != nil {
				return fmt.Errorf("event %d: %w", i, err)
			}
			job.Events = append(job.Events, done)
		}
		job.Success, job.Finished = len(job.Errors) == 0, r.Now().UTC()
		told, err := json.Marshal(job)
		if err != nil {
			return err
		}
		return c.Job(job.ID, told)
	})
	if err != nil {
		return nil, err
	}
	return job, nil
}

func refused(all []document.One) (n int) {
	for _, one := range all {
		if one.Event == nil {
			n++
		}
	}
	return n
}

// add stores one event, unless it is there.
func (r *Repository) add(c *ingest.Capture, e *document.Event) (Captured, error) {
	done := Captured{EventID: e.ID}
	known, err := c.Known(e.ID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return done, err
	}
	there := err == nil
	if there && known.Doc != nil {
		had, err := document.ParseEvent(known.Doc)
		if err != nil {
			return done, fmt.Errorf("stored event %s: %w", e.ID, err)
		}
		if had.Hash != e.Hash {
			return done, problemf(http.StatusConflict, duplicate, "eventID %s is that of another event, captured before; an event is corrected by errorDeclaration and a new event, never changed", e.ID)
		}
	}
	if e.IsError() {
		if !there {
			return done, problemf(http.StatusConflict, validation, "no event with eventID %s was captured here that this one could declare to be wrong", e.ID)
		}
		corrections, err := c.Corrections(e.ID)
		if err != nil {
			return done, err
		}
		for _, old := range corrections {
			if old.Doc == nil || string(old.Doc) == string(e.Document()) {
				known, done.Known = old, true
			}
		}
	} else {
		done.Known = there
	}
	if done.Known {
		id, err := c.ID(known.Index)
		done.Statement = id.String()
		return done, err
	}
	id, err := r.sign(c, e)
	done.Statement = id.String()
	return done, err
}

// sign makes the statement of an event, behind each object's newest one, and stores
// it with what only the gateway has of it.
func (r *Repository) sign(c *ingest.Capture, e *document.Event) (statement.Hash, error) {
	var seed [32]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return statement.Hash{}, err
	}
	private := ingest.Private{ID: e.ID, Doc: e.Document(), Seed: seed[:]}
	if e.IsError() {
		private.ID, private.Corrects = "", e.ID
	}
	m := e.Members
	leaves := func(list statement.ItemList, objects []document.Object) (statement.Items, error) {
		items := make([]statement.Item, len(objects))
		for i, o := range objects {
			last, err := c.Last(o.Name)
			if err != nil {
				return nil, err
			}
			items[i] = statement.Item{Object: o.Name, Prev: last, TID: o.TID}
		}
		return statement.NewItems(seed, list, items...)
	}
	var err error
	if private.Items, err = leaves(statement.ListItems, m.Items); err != nil {
		return statement.Hash{}, err
	}
	var named []statement.EventOf
	for _, n := range m.Named {
		last, err := c.Last(n)
		if err != nil {
			return statement.Hash{}, err
		}
		named = append(named, statement.EventOf{Object: n, Prev: last})
	}
	said := statement.NewEvent(e.Document(), m.Action, m.At, private.Items, named...)
	said.Place, said.Step = m.Place, m.Step
	if len(m.Inputs) > 0 {
		if private.Inputs, err = leaves(statement.ListInputs, m.Inputs); err != nil {
			return statement.Hash{}, err
		}
		root := private.Inputs.Root()
		said.Inputs = &root
	}
	s, err := r.Sign(said)
	if err != nil {
		return statement.Hash{}, err
	}
	_, err = c.Add(ingest.Event{Statement: s, Private: private})
	return s.ID(), err
}
