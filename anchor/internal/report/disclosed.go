package report

import (
	"slices"

	"trailmark/passport"
	"trailmark/statement"
)

// happened is an event that a device reported and the passport discloses.
type happened struct {
	*statement.Happening
	device statement.Hash
}

// happenings reads the disclosed happenings out of a passport that Verify has
// accepted: it has shown each of them to belong to a frame that its device
// signed. Those on a clock that was not set have no place in time.
func happenings(data []byte) ([]happened, error) {
	p, err := passport.Parse(data)
	if err != nil {
		return nil, err
	}
	var out []happened
	for _, e := range p.Evidence {
		if e.Shown == nil {
			continue
		}
		s, err := statement.Parse(e.Statement)
		if err != nil {
			return nil, err
		}
		f, err := s.Frame()
		if err != nil {
			return nil, err
		}
		if f.Clock.Quality == statement.ClockUnset {
			continue
		}
		for _, shown := range e.Shown.Records {
			record, err := statement.ParseRecord(shown.Data)
			if err != nil {
				return nil, err
			}
			body, err := statement.Body{Kind: record.Kind, Data: record.Body}.Decode()
			if err != nil {
				return nil, err
			}
			if h, ok := body.(*statement.Happening); ok {
				out = append(out, happened{h, s.Header.KeyID})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b happened) int { return int(min(max(a.At-b.At, -1), 1)) })
	return out, nil
}
