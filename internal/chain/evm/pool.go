package evm

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/ethclient"
	"github.com/ethereum/go-ethereum/rpc"
)

var (
	// ErrDisagree is wrapped when no quorum of endpoints says the same.
	ErrDisagree = errors.New("endpoints disagree")

	// ErrWrongChain is wrapped when a chain, its genesis or the contract's code is
	// not the one that is pinned. Nothing is signed then.
	ErrWrongChain = errors.New("not the pinned chain")
)

const (
	answerWithin = 10 * time.Second
	// graceful is how long the others are waited for once a quorum has answered,
	// so that a disagreement is found out and a dead endpoint does not delay.
	graceful = 300 * time.Millisecond
	maxBody  = 32 << 20 // of an endpoint's answer
)

// A Client reads one contract. Safe for concurrent use.
type Client struct {
	target    Target
	endpoints []*endpoint
}

type endpoint struct {
	name string // host and port
	url  string
	rpc  *rpc.Client
	eth  *ethclient.Client

	mu      sync.Mutex
	trouble string // of the last read, guarded by mu
}

// An Endpoint is what is known of one.
type Endpoint struct {
	Name    string
	Trouble string // what it last failed at, or said against the others; "": nothing
}

// Dial makes a client. No endpoint is asked yet.
func Dial(t Target) (*Client, error) {
	if len(t.RPCs) == 0 {
		return nil, errors.New("no endpoint")
	}
	c := &Client{target: t}
	if c.target.Quorum == 0 {
		c.target.Quorum = len(t.RPCs)/2 + 1
	}
	for _, u := range t.RPCs {
		r, err := rpc.DialOptions(context.Background(), u, rpc.WithHTTPClient(&http.Client{Timeout: answerWithin, Transport: limited{http.DefaultTransport}}))
		if err != nil {
			c.Close()
			return nil, fmt.Errorf("endpoint %s: %s", redact(u), clean(err, u))
		}
		name := strings.TrimPrefix(strings.TrimPrefix(redact(u), "https://"), "http://")
		c.endpoints = append(c.endpoints, &endpoint{name: name, url: u, rpc: r, eth: ethclient.NewClient(r)})
	}
	return c, nil
}

// Close ends the connections.
func (c *Client) Close() {
	for _, e := range c.endpoints {
		e.rpc.Close()
	}
}

// Target is what the client reads.
func (c *Client) Target() Target { return c.target }

// Endpoints says what each endpoint is worth at present.
func (c *Client) Endpoints() (all []Endpoint) {
	for _, e := range c.endpoints {
		e.mu.Lock()
		all = append(all, Endpoint{e.name, e.trouble})
		e.mu.Unlock()
	}
	return all
}

func (e *endpoint) say(trouble string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.trouble = trouble
}

type answer[T any] struct {
	from  *endpoint
	value T
	err   error
}

// ask has every endpoint answer, and waits for the late only for a moment after a
// quorum came. An endpoint's error is the answer of that one.
func ask[T any](ctx context.Context, c *Client, f func(context.Context, *endpoint) (T, error)) []answer[T] {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	came := make(chan answer[T], len(c.endpoints))
	for _, e := range c.endpoints {
		go func() {
			v, err := f(ctx, e)
			if err != nil {
				err = clean(err, e.url)
			}
			came <- answer[T]{e, v, err}
		}()
	}
	var all []answer[T]
	var late <-chan time.Time
	good := 0
	for len(all) < len(c.endpoints) {
		select {
		case a := <-came:
			all = append(all, a)
			if a.err == nil {
				good++
			}
			if good == c.target.Quorum && late == nil {
				late = time.After(graceful)
			}
		case <-late:
			for _, e := range c.endpoints {
				if !slices.ContainsFunc(all, func(a answer[T]) bool { return a.from == e }) {
					e.say("no answer yet")
				}
			}
			return all
		}
	}
	return all
}

// agreed returns what a quorum says, by the text that says gives of a value.
func agreed[T any](ctx context.Context, c *Client, what string, f func(context.Context, *endpoint) (T, error), says func(T) string) (T, error) {
	var zero T
	all := ask(ctx, c, f)
	votes := map[string]int{}
	best := ""
	for _, a := range all {
		key := "error: "
		if a.err == nil {
			key = says(a.value)
		} else {
			key += a.err.Error()
		}
		if votes[key]++; a.err == nil && votes[key] > votes[best] {
			best = key
		}
	}
	var value T
	var refusal error
	var parts []string
	for _, a := range all {
		switch {
		case a.err != nil:
			a.from.say(what + ": " + a.err.Error())
			parts = append(parts, a.from.name+": "+a.err.Error())
			if refusal == nil {
				refusal = a.err
			}
		case says(a.value) != best:
			a.from.say(fmt.Sprintf("%s: says %s, others %s", what, says(a.value), best))
			parts = append(parts, a.from.name+": "+says(a.value))
		default:
			value = a.value
			a.from.say("")
			parts = append(parts, a.from.name+": "+best)
		}
	}
	if votes[best] >= c.target.Quorum {
		return value, nil
	}
	if err := ctx.Err(); err != nil {
		return zero, err
	}
	slices.Sort(parts)
	if best == "" { // nobody answered: the first reason is as good as any
		return zero, fmt.Errorf("%s: %w (%s)", what, refusal, strings.Join(parts, "; "))
	}
	return zero, fmt.Errorf("%s: %w: %d of %d needed say %s: %s", what, ErrDisagree, votes[best], c.target.Quorum, best, strings.Join(parts, "; "))
}

// clean takes an endpoint's URL out of an error: it may hold a secret. What the
// error is stays known to errors.As.
func clean(err error, of string) error { return cleaned{err, of} }

type cleaned struct {
	err error
	url string
}

func (c cleaned) Error() string {
	text := strings.ReplaceAll(c.err.Error(), c.url, redact(c.url))
	var of *url.Error
	if errors.As(c.err, &of) { // repeats the URL, in a form of its own
		text = of.Err.Error()
	}
	if i := strings.IndexByte(text, '\n'); i >= 0 {
		text = text[:i]
	}
	if len(text) > 300 {
		text = text[:300] + "…"
	}
	return text
}

func (c cleaned) Unwrap() error { return c.err }

// limited bounds what an endpoint can make us read.
type limited struct{ http.RoundTripper }

func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = http.MaxBytesReader(nil, resp.Body, maxBody)
	}
	return resp, err
}
