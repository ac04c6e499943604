package comet

import "crypto/ed25519"

// A Voter is a validator's key and voting power: what a verifier pins.
type Voter struct {
	Key   ed25519.PublicKey
	Power int64
}

// Voters returns the validators that vote now.
func (n *Node) Voters() []Voter {
	_, vals := n.env.ConsensusState.GetValidators()
	out := make([]Voter, len(vals))
	for i, v := range vals {
		out[i] = Voter{Key: v.PubKey.Bytes(), Power: v.VotingPower}
	}
	return out
}
