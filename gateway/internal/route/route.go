// Package route is the table of the gateway's HTTP addresses: what each takes,
// what it answers, and who serves it.
//
// A package that serves something exports its routes; the gateway joins the
// tables, makes one handler of them and writes the OpenAPI document from the
// same table, so that neither can say what the other does not. What every
// address refuses alike is refused here, before its handler is called: another
// method, a body that is too large or of another type, an answer of no type that
// the client takes. Errors are RFC 9457 problem details.
package route

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// Words are a sentence for people, Chinese first.
type Words struct{ ZH, EN string }

// A Route is one method at one address.
type Route struct {
	Method string
	Path   string // as http.ServeMux takes it: /api/products/{gtin}
	Tag    Words  // the heading it stands under
	Says   Words  // what it does, a sentence
	Params []Param
	Body   *Body // nil: it takes none
	// Answers are those of its own; Table.Document adds what every route may refuse.
	Answers []Answer
	// Negotiates says that Serve looks at Accept itself.
	Negotiates bool
	// Elsewhere says that another handler serves the route, with rules of its own:
	// here it is only described.
	Elsewhere bool
	// Shared lets pages of other hosts read the answers: public data, no
	// credentials.
	Shared bool
	// Serve answers. An error is an *Error for the client to mend, or the gateway's
	// own trouble.
	Serve func(w http.ResponseWriter, r *http.Request) error
}

// A Param is a value in a route's path or query.
type Param struct {
	Name    string
	In      string // "path", "query" or "header"
	Says    Words
	Pattern string // of the value, "": any
	Example string
}

// A Body is what a route takes.
type Body struct {
	Types  []string // media types
	Max    int64    // bytes
	Schema *jsonschema.Schema
	Says   Words
}

// An Answer is one status that a route gives.
type Answer struct {
	Status int
	Type   string // media type, "": no body
	Says   Words
	Schema *jsonschema.Schema // of a JSON body; nil: any, or of a problem: Problem
}

// An Error is a request that is the client's to mend; its text is shown.
type Error struct {
	Status int // 400..499
	Detail string
}

func (e *Error) Error() string { return e.Detail }

// Errorf is an Error.
func Errorf(status int, format string, args ...any) error {
	return &Error{status, fmt.Sprintf(format, args...)}
}

// ProblemType is the media type of every error.
const ProblemType = "application/problem+json"

// Problem is an RFC 9457 problem.
type Problem struct {
	Type   string `json:"type,omitempty"` // "": about:blank
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
}

// Schema is the JSON schema of a Go type as encoding/json writes it: members
// without omitempty are required, and there are no others.
func Schema[T any]() *jsonschema.Schema {
	// What encoding/json writes otherwise than its Go type says.
	s, err := jsonschema.For[T](&jsonschema.ForOptions{TypeSchemas: map[reflect.Type]*jsonschema.Schema{
		reflect.TypeFor[json.RawMessage](): {}, reflect.TypeFor[json.Number](): {Type: "number"}}})
	if err != nil {
		panic(err) // a type of ours that has no schema: found by the first test that links it
	}
	return s
}

// Refusal is an answer that a route gives when it refuses for a reason of its own.
func Refusal(status int, zh, en string) Answer {
	return Answer{Status: status, Type: ProblemType, Says: Words{zh, en}}
}

// pattern is how the mux knows the route.
func (r Route) pattern() string { return r.Method + " " + r.Path }

// Public is the path as OpenAPI writes it.
func (r Route) Public() string {
	return strings.ReplaceAll(strings.TrimSuffix(r.Path, "{$}"), "...}", "}")
}

// types are the media types of the answers that are no errors.
func (r Route) types() (out []string) {
	for _, a := range r.Answers {
		if a.Status < 300 && a.Type != "" {
			out = append(out, a.Type)
		}
	}
	return out
}
