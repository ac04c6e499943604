package statement

import (
	"crypto/elliptic"
	"errors"
	"fmt"
	"math/big"

	"github.com/fxamacker/cbor/v2"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/veraison/go-cose"
)

// A ForeignReceipt is what a verified receipt of another implementation says.
type ForeignReceipt struct {
	Size, Index uint64
	Root        Hash // of the tree of Size entries, signed by the log
}

// MaxForeign bounds a foreign receipt in bytes.
const MaxForeign = 64 << 10

// Labels of RFC 9942.
const (
	labelVDS = int64(395)
	labelVDP = int64(396)
)

// VerifyForeignReceipt checks a COSE Receipt (RFC 9942, RFC 9162 SHA-256
// profile) that another implementation made: with its headers in any order,
// other headers beside them, tagged or not. Entry is what that log hashes as the
// leaf. Receipts of Trailmark's own ledgers go through ParseReceipt, which takes
// one form only.
func VerifyForeignReceipt(receipt, entry []byte, logKey Key) (ForeignReceipt, error) {
	var none ForeignReceipt
	if len(receipt) == 0 || len(receipt) > MaxForeign {
		return none, fmt.Errorf("receipt of %d bytes, want 1..%d", len(receipt), MaxForeign)
	}
	var m cose.Sign1Message
	if receipt[0] == signTag {
		if err := m.UnmarshalCBOR(receipt); err != nil {
			return none, fmt.Errorf("receipt: %w", err)
		}
	} else if err := (*cose.UntaggedSign1Message)(&m).UnmarshalCBOR(receipt); err != nil {
		return none, fmt.Errorf("receipt: %w", err)
	}
	if err := foreignHeader(m.Headers.Protected, logKey); err != nil {
		return none, err
	}
	inc, err := foreignProof(m.Headers.Unprotected)
	if err != nil {
		return none, err
	}
	root, err := proof.RootFromInclusionProof(rfc6962.DefaultHasher, inc.Index, inc.Size, rfc6962.DefaultHasher.HashLeaf(entry), raw(inc.Path))
	if err != nil {
		return none, fmt.Errorf("receipt: %w", err)
	}
	if m.Payload != nil && string(m.Payload) != string(root) {
		return none, errors.New("receipt carries another root than its proof leads to")
	}
	m.Payload = root
	m.Signature = lowS(logKey, m.Signature)
	if err := m.Verify(nil, logKey.verifier); err != nil {
		return none, fmt.Errorf("receipt: %w", err)
	}
	return ForeignReceipt{inc.Size, inc.Index, Hash(root)}, nil
}

func foreignHeader(p cose.ProtectedHeader, logKey Key) error {
	if logKey.IsZero() {
		return errors.New("no key")
	}
	alg, err := p.Algorithm()
	if err != nil {
		return fmt.Errorf("receipt header: %w", err)
	}
	if int64(alg) != logKey.alg {
		return fmt.Errorf("receipt of algorithm %d does not go with a key for %d", alg, logKey.alg)
	}
	if vds, ok := p[labelVDS].(int64); !ok || vds != vdsRFC9162 {
		return fmt.Errorf("verifiable data structure %v is not the RFC 9162 one", p[labelVDS])
	}
	critical, err := p.Critical()
	if err != nil {
		return fmt.Errorf("receipt header: %w", err)
	}
	for _, label := range critical { // go-cose does not know what we understand
		if n, ok := label.(int64); !ok || n != cose.HeaderLabelAlgorithm && n != cose.HeaderLabelKeyID && n != labelVDS {
			return fmt.Errorf("critical header %v is not understood", label)
		}
	}
	return nil
}

// foreignProof is the one inclusion proof of the unprotected header.
func foreignProof(u cose.UnprotectedHeader) (inc inclusion, err error) {
	proofs, _ := u[labelVDP].(map[any]any)
	list, _ := proofs[int64(-1)].([]any)
	if len(list) != 1 {
		return inc, fmt.Errorf("receipt of %d inclusion proofs, want one", len(list))
	}
	data, ok := list[0].([]byte)
	if !ok {
		return inc, errors.New("inclusion proof is no byte string")
	}
	mode, err := cbor.DecOptions{MaxArrayElements: 128, MaxMapPairs: 16, MaxNestedLevels: 4}.DecMode()
	if err != nil {
		return inc, err
	}
	if err := mode.Unmarshal(data, &inc); err != nil {
		return inc, fmt.Errorf("inclusion proof: %w", err)
	}
	if inc.Index >= inc.Size || inc.Size > MaxUint || len(inc.Path) > 64 {
		return inc, errors.New("inclusion proof out of bounds")
	}
	return inc, nil
}

// lowS is the one of two equal ES256 signatures that our keys verify.
func lowS(k Key, sig []byte) []byte {
	if k.alg != ES256 || len(sig) != 64 {
		return sig
	}
	s, n := new(big.Int).SetBytes(sig[32:]), elliptic.P256().Params().N
	if s.Cmp(halfOrder) <= 0 || s.Cmp(n) >= 0 {
		return sig
	}
	out := append([]byte(nil), sig...)
	s.Sub(n, s).FillBytes(out[32:])
	return out
}
