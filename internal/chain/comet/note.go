package comet

import "fmt"

// Note is the signed checkpoint of an origin that an anchor transaction carries.
// With origin "" it is that of a transaction with one.
func Note(raw []byte, origin string) ([]byte, error) {
	t, err := decodeTx(raw)
	if err != nil {
		return nil, err
	}
	for i, c := range t.checkpoints {
		if c.origin == origin || origin == "" && len(t.checkpoints) == 1 {
			return t.notes[i], nil
		}
	}
	return nil, fmt.Errorf("not a transaction that anchors %q", origin)
}
