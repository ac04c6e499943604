package evm

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
)

// fees are what a transaction offers for a unit of gas.
type fees struct {
	Cap *big.Int // at most; the gas price of a legacy transaction
	Tip *big.Int // nil: legacy
}

func (f fees) String() string {
	return fmt.Sprintf("%s gwei", new(big.Rat).SetFrac(f.Cap, gwei).FloatString(3))
}

// suggest asks what is usual at present. An endpoint can only make us pay up to
// the target's limit, and the middle of all answers is taken.
func (c *Client) suggest(ctx context.Context, latest Block) (fees, error) {
	if latest.BaseFee == nil || c.target.Legacy {
		price, err := c.middle(ctx, func(ctx context.Context, e *endpoint) (*big.Int, error) { return e.eth.SuggestGasPrice(ctx) })
		if err != nil {
			return fees{}, fmt.Errorf("gas price: %w", err)
		}
		return fees{Cap: price}, nil
	}
	tip, err := c.middle(ctx, func(ctx context.Context, e *endpoint) (*big.Int, error) { return e.eth.SuggestGasTipCap(ctx) })
	if err != nil {
		tip = new(big.Int).Set(gwei) // a chain without that call
	}
	limit := new(big.Int).Mul(latest.BaseFee, big.NewInt(2))
	return fees{Cap: limit.Add(limit, tip), Tip: tip}, ctx.Err()
}

func (c *Client) middle(ctx context.Context, f func(context.Context, *endpoint) (*big.Int, error)) (*big.Int, error) {
	var values []*big.Int
	var errs []error
	for _, a := range ask(ctx, c, f) {
		if a.err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", a.from.name, a.err))
		} else if a.value.Sign() >= 0 {
			values = append(values, a.value)
		}
	}
	if len(values) == 0 {
		return nil, errors.Join(errs...)
	}
	slices.SortFunc(values, (*big.Int).Cmp)
	return values[(len(values)-1)/2], nil
}

// raised is at least 15 % above old: geth wants 10 %, some pools 12.5 %. The tip
// never exceeds the cap.
func raised(old, now fees) fees {
	up := func(v *big.Int) *big.Int {
		n := new(big.Int).Mul(v, big.NewInt(115))
		return n.Div(n, big.NewInt(100)).Add(n, big.NewInt(1))
	}
	out := fees{Cap: larger(up(old.Cap), now.Cap)}
	if old.Tip != nil {
		tip := big.NewInt(0)
		if now.Tip != nil {
			tip = now.Tip
		}
		out.Tip = larger(up(old.Tip), tip)
		out.Cap = larger(out.Cap, out.Tip)
	}
	return out
}

func larger(a, b *big.Int) *big.Int {
	if a.Cmp(b) >= 0 {
		return a
	}
	return b
}

// transaction is unsigned.
func transaction(chainID uint64, nonce uint64, to *common.Address, data []byte, gas uint64, f fees) *types.Transaction {
	if f.Tip == nil {
		return types.NewTx(&types.LegacyTx{Nonce: nonce, GasPrice: f.Cap, Gas: gas, To: to, Data: data})
	}
	return types.NewTx(&types.DynamicFeeTx{ChainID: number(chainID), Nonce: nonce, GasTipCap: f.Tip, GasFeeCap: f.Cap, Gas: gas, To: to, Data: data})
}

// Coins writes wei in the chain's coin, of which one is 10^18 wei.
func Coins(wei *big.Int) string {
	if wei == nil {
		return ""
	}
	text := new(big.Rat).SetFrac(wei, new(big.Int).Mul(gwei, gwei)).FloatString(18)
	whole, fraction, _ := strings.Cut(text, ".")
	if fraction = strings.TrimRight(fraction, "0"); fraction == "" {
		return whole
	}
	return whole + "." + fraction
}
