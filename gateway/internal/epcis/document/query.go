package document

import (
	"encoding/json"
	"time"
)

// Said is what a query document says beside its events, in members of our own.
type Said struct {
	Statements map[string]string // ids of the statements that say the events, by eventID
	Declared   []string          // eventIDs whose sensors are somebody's word, not a device's signature
	Signed     []string          // eventIDs made of what devices signed
}

// QueryDocument is the standard's answer to a query.
func QueryDocument(now time.Time, events []json.RawMessage, said Said) any {
	type body struct {
		Results struct {
			Name string `json:"queryName"`
			Body struct {
				List []json.RawMessage `json:"eventList"`
			} `json:"resultsBody"`
		} `json:"queryResults"`
	}
	out := struct {
		Context    any               `json:"@context"`
		Type       string            `json:"type"`
		Version    string            `json:"schemaVersion"`
		Created    string            `json:"creationDate"`
		Body       body              `json:"epcisBody"`
		Statements map[string]string `json:"trailmark:statements,omitempty"`
		Declared   []string          `json:"trailmark:declared,omitempty"`
		Signed     []string          `json:"trailmark:signed,omitempty"`
	}{[]any{Context, map[string]string{"trailmark": Prefix}}, "EPCISQueryDocument", "2.0", now.UTC().Format("2006-01-02T15:04:05.000Z"), body{},
		said.Statements, said.Declared, said.Signed}
	out.Body.Results.Name, out.Body.Results.Body.List = "SimpleEventQuery", events
	return out
}
