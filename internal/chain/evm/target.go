package evm

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
)

// A Target names a contract, and how it is read and paid for.
type Target struct {
	RPCs     []string       // JSON-RPC endpoints
	Contract common.Address // zero only before it is deployed
	ChainID  uint64         // 0: pinned as first seen
	Genesis  common.Hash    // zero: pinned as first seen
	Depth    int            // blocks on top that make one final; -1: the chain's finalized tag
	Quorum   int            // endpoints that must agree; 0: more than half
	MaxFee   *big.Int       // wei for a unit of gas, never more; nil: 500 gwei
	Legacy   bool           // one gas price also where there is a base fee
	Bump     time.Duration  // age at which the fee of a waiting transaction is raised; 0: 2 minutes
}

// Address and Hash are go-ethereum's, for those who must not import it.
type (
	Address = common.Address
	Hash    = common.Hash
)

// ParseAddress reads 0x and 40 hex digits.
func ParseAddress(s string) (a Address, err error) {
	err = unhex(a[:], s)
	return a, err
}

const (
	maxEndpoints   = 16
	defaultBump    = 2 * time.Minute
	defaultMaxGwei = 500
)

var gwei = big.NewInt(1e9)

// ParseTarget reads evm+https://rpc[,https://rpc2…]#0xcontract[,key=value…] with
// the keys chain, genesis, depth, quorum, max-fee (in gwei), bump and fees
// (auto or legacy). Without depth a block is final when the chain's finalized
// tag says so.
func ParseTarget(s string) (Target, error) {
	rest, ok := strings.CutPrefix(s, "evm+")
	if !ok {
		return Target{}, fmt.Errorf("chain %q does not begin with evm+\nhint: evm+https://rpc.example#0x<contract>", redact(s))
	}
	urls, fragment, _ := strings.Cut(rest, "#")
	t := Target{Depth: -1, MaxFee: new(big.Int).Mul(big.NewInt(defaultMaxGwei), gwei), Bump: defaultBump}
	for _, u := range strings.Split(urls, ",") {
		p, err := url.Parse(u)
		if err != nil || p.Host == "" || p.Scheme != "http" && p.Scheme != "https" {
			return Target{}, fmt.Errorf("endpoint %q is no http or https URL", redact(u))
		}
		t.RPCs = append(t.RPCs, u)
	}
	if len(t.RPCs) > maxEndpoints {
		return Target{}, fmt.Errorf("%d endpoints, at most %d", len(t.RPCs), maxEndpoints)
	}
	if fragment != "" {
		if err := t.options(strings.Split(fragment, ",")); err != nil {
			return Target{}, err
		}
	}
	if t.Quorum > len(t.RPCs) {
		return Target{}, fmt.Errorf("quorum of %d of %d endpoints", t.Quorum, len(t.RPCs))
	}
	if t.Quorum == 0 {
		t.Quorum = len(t.RPCs)/2 + 1
	}
	return t, nil
}

func (t *Target) options(parts []string) error {
	for i, part := range parts {
		key, value, isOption := strings.Cut(part, "=")
		var err error
		switch {
		case !isOption && i == 0:
			err = unhex(t.Contract[:], part)
		case !isOption:
			err = errors.New("want key=value")
		case key == "chain":
			t.ChainID, err = strconv.ParseUint(value, 10, 53)
		case key == "genesis":
			err = unhex(t.Genesis[:], value)
		case key == "depth":
			t.Depth, err = natural(value, 100_000)
		case key == "quorum":
			if t.Quorum, err = natural(value, maxEndpoints); err == nil && t.Quorum == 0 {
				err = errors.New("want 1 or more")
			}
		case key == "max-fee":
			var n int
			n, err = natural(value, 1_000_000_000)
			t.MaxFee = new(big.Int).Mul(big.NewInt(int64(n)), gwei)
		case key == "bump":
			if t.Bump, err = time.ParseDuration(value); err == nil && t.Bump < 100*time.Millisecond {
				err = errors.New("want 100ms or more")
			}
		case key == "fees" && (value == "auto" || value == "legacy"):
			t.Legacy = value == "legacy"
		default:
			err = errors.New("no such option; known are chain, genesis, depth, quorum, max-fee, bump, fees=auto|legacy")
		}
		if err != nil {
			return fmt.Errorf("%q after # of a chain: %w", part, err)
		}
	}
	return nil
}

func natural(s string, most int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > most {
		return 0, fmt.Errorf("want a number from 0 to %d", most)
	}
	return n, nil
}

func unhex(to []byte, s string) error {
	b, err := hex.DecodeString(strings.TrimPrefix(s, "0x"))
	if err != nil || len(b) != len(to) {
		return fmt.Errorf("want 0x and %d hex digits", 2*len(to))
	}
	copy(to, b)
	return nil
}

// redact leaves of a URL what says where it leads: the rest may be a secret.
func redact(s string) string {
	if i := strings.Index(s, "://"); i >= 0 {
		end := strings.IndexAny(s[i+3:], "/?#")
		if end < 0 {
			end = len(s) - i - 3
		}
		host := s[i+3:][:end]
		if at := strings.LastIndex(host, "@"); at >= 0 {
			host = host[at+1:]
		}
		return s[:i+3] + host
	}
	return "…"
}
