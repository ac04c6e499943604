package evm

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
)

// resolve ends what is in flight once its nonce is used in a final block,
// whoever used it.
func (s *Submitter) resolve(ctx context.Context, v view) error {
	f := s.j.InFlight
	if f == nil || v.nonceFinal <= f.Nonce {
		return nil
	}
	next := f.Nonce + 1
	for _, a := range slices.Backward(f.Attempts) {
		tx, err := a.tx()
		if err != nil {
			return err
		}
		r, err := s.opt.Client.receipt(ctx, tx.Hash())
		if errors.Is(err, ethereum.NotFound) {
			continue
		} else if err != nil {
			return err
		}
		if err := s.account(ctx, v, a, tx, r); err != nil {
			return err
		}
		s.j.InFlight, s.j.Next = nil, &next
		return s.save()
	}
	s.foreign(fmt.Sprintf("nonce %d of this key was used by a transaction that is not ours", f.Nonce))
	s.j.InFlight, s.j.Next = nil, &next
	return s.save()
}

// account adds up what a final transaction took. One that was reverted parks its
// heads, unless somebody else has anchored them or more meanwhile.
func (s *Submitter) account(ctx context.Context, v view, a attempt, tx *types.Transaction, r receipt) error {
	price := (*big.Int)(r.Price)
	if price == nil { // a chain that does not say
		price = tx.GasPrice()
	}
	cost := &s.j.Cost
	cost.Transactions++
	cost.Gas += uint64(r.GasUsed)
	sum := new(big.Int).Mul(price, number(uint64(r.GasUsed)))
	if cost.Wei != nil {
		sum.Add(sum, (*big.Int)(cost.Wei))
	}
	cost.Wei = (*bigInt)(sum)
	if r.Status == 1 {
		cost.Heads += uint64(len(a.Heads))
		return nil
	}
	for _, h := range a.Heads {
		on, err := s.opt.Client.HeadAt(ctx, v.final, h.Origin)
		if err != nil {
			return err
		}
		if on.Size >= h.Size {
			continue
		}
		reason := fmt.Sprintf("transaction %s was reverted in block %d", short(tx.Hash()), r.Block.ToInt())
		s.alarm("reverted", fmt.Sprintf("size %d of %s: %s", h.Size, h.Origin, reason))
		s.j.park(h, reason, s.opt.Now())
	}
	return nil
}

// foreign holds submission back: somebody else signs with our key.
func (s *Submitter) foreign(text string) {
	s.alarm("foreign", text+"\nhint: is the key on two gateways? give each its own")
	s.j.Held = s.opt.Now().Add(s.opt.Hold).UTC()
}

// send signs and sends a first transaction for heads.
func (s *Submitter) send(ctx context.Context, v view, heads []Head) (Progress, error) {
	if s.j.Next != nil && v.nonceLatest > *s.j.Next {
		s.foreign(fmt.Sprintf("nonce %d of this key was used by a transaction that is not ours", v.nonceLatest-1))
		s.j.Next = &v.nonceLatest
		if err := s.save(); err != nil {
			return Progress{}, err
		}
	}
	now := s.opt.Now()
	if pending := s.opt.Client.pendingNonce(ctx, s.address); pending > v.nonceLatest && s.alarm("foreign",
		fmt.Sprintf("a transaction of this key with nonce %d waits that is not ours\nhint: is the key on two gateways? or was the journal lost? it is replaced in %v", v.nonceLatest, s.opt.Hold)) {
		s.j.Held = now.Add(s.opt.Hold).UTC()
		if err := s.save(); err != nil {
			return Progress{}, err
		}
	}
	if now.Before(s.j.Held) {
		return Progress{Stage: Waiting, Detail: fmt.Sprintf("held until %s: somebody else signs with this key", s.j.Held.Format(time.RFC3339))}, nil
	}
	f, err := s.opt.Client.suggest(ctx, v.latest)
	if err != nil {
		return Progress{}, err
	}
	if why := s.limit(&f, v.latest); why != "" {
		return Progress{Stage: Waiting, Detail: why}, nil
	}
	return s.attempt(ctx, v, heads, v.nonceLatest, f)
}

// limit lowers what is offered to the target's limit, or says why it cannot.
func (s *Submitter) limit(f *fees, latest Block) string {
	most := s.opt.Client.target.MaxFee
	if most == nil || f.Cap.Cmp(most) <= 0 {
		return ""
	}
	if f.Tip != nil && new(big.Int).Add(latest.BaseFee, f.Tip).Cmp(most) <= 0 {
		f.Cap = most
		return ""
	}
	return fmt.Sprintf("gas costs %s, the limit is %s\nhint: max-fee=GWEI after # of the chain", *f, fees{Cap: most})
}

// attempt simulates, signs, keeps and sends one transaction, in this order.
func (s *Submitter) attempt(ctx context.Context, v view, heads []Head, nonce uint64, f fees) (Progress, error) {
	for _, h := range heads {
		if p := s.j.isParked(h); p != nil {
			return Progress{}, fmt.Errorf("size %d of %s is parked since %s: %s\nhint: a larger checkpoint goes on", h.Size, h.Origin, p.At.Format(time.RFC3339), p.Reason)
		}
	}
	data, err := Calldata(heads)
	if err != nil {
		return Progress{}, err
	}
	to := s.opt.Client.target.Contract
	gas, err := s.opt.Client.estimate(ctx, v.latest, s.address, &to, data)
	if r := refusal(err); r != nil {
		if r.Forever() && len(heads) == 1 {
			s.j.park(heads[0], r.Error(), s.opt.Now())
			err = errors.Join(r, s.save())
		} else {
			err = r
		}
	}
	if err != nil {
		return Progress{}, err
	}
	gas = max(gas, gasFloor+gasPerHead*uint64(len(heads)))
	signed, err := s.opt.Signer.Sign(ctx, s.j.Pins.ChainID, transaction(s.j.Pins.ChainID, nonce, &to, data, gas, f))
	if err != nil {
		return Progress{}, err
	}
	raw, err := signed.MarshalBinary()
	if err != nil {
		return Progress{}, err
	}
	if s.j.InFlight == nil {
		s.j.InFlight = &inFlight{Nonce: nonce}
		s.j.Next = &nonce
	}
	s.j.InFlight.Attempts = append(s.j.InFlight.Attempts, attempt{raw, slices.Clone(heads), s.opt.Now().UTC()})
	if err := s.save(); err != nil {
		return Progress{}, err
	}
	s.opt.Log.Debug("anchor sent", "chain", Name(s.j.Pins.ChainID), "nonce", nonce, "attempt", len(s.j.InFlight.Attempts), "fee", f.String(), "tx", signed.Hash().Hex())
	return s.pending(), s.opt.Client.broadcast(ctx, raw)
}

// nudge looks after a transaction that no block has yet: raised and with the
// newest heads when that is due, else sent again to endpoints that do not know it.
func (s *Submitter) nudge(ctx context.Context, v view, missing []Head) (Progress, error) {
	f := s.j.InFlight
	if v.nonceLatest < f.Nonce { // the one before it went away, so this can never be mined
		s.alarm("rollback", fmt.Sprintf("nonce %d is in flight, the chain, now at block %d, counts %d", f.Nonce, v.latest.Number, v.nonceLatest))
		s.j.InFlight, s.j.Next = nil, &v.nonceLatest
		if err := s.save(); err != nil || len(missing) == 0 {
			return Progress{Stage: Waiting}, err
		}
		return s.send(ctx, v, missing)
	}
	last := f.Attempts[len(f.Attempts)-1]
	tx, err := last.tx()
	if err != nil {
		return Progress{}, err
	}
	bump := s.opt.Client.target.Bump
	if bump == 0 {
		bump = defaultBump
	}
	if s.opt.Now().Sub(last.Made) < bump || len(f.Attempts) >= maxAttempts || len(missing) == 0 {
		return s.repeat(ctx, s.pending(), tx.Hash(), last.Raw), nil
	}
	heads := last.Heads
	if sameOrigins(missing, heads) {
		heads = missing
	}
	now, err := s.opt.Client.suggest(ctx, v.latest)
	if err != nil {
		return Progress{}, err
	}
	fee := raised(feesOf(tx), now)
	if most := s.opt.Client.target.MaxFee; most != nil && fee.Cap.Cmp(most) > 0 {
		if least := raised(feesOf(tx), feesOf(tx)); least.Cap.Cmp(most) <= 0 {
			fee.Cap = most
			if fee.Tip != nil && fee.Tip.Cmp(most) > 0 {
				fee.Tip = most
			}
		} else {
			p := s.pending()
			p.Detail += fmt.Sprintf("; a raise needs %s, the limit is %s", least, fees{Cap: most})
			return s.repeat(ctx, p, tx.Hash(), last.Raw), nil
		}
	}
	return s.attempt(ctx, v, heads, f.Nonce, fee)
}

// repeat sends again what no endpoint knows. That none takes it is no failure of
// the step: the transaction is in the journal and its fee will be raised.
func (s *Submitter) repeat(ctx context.Context, p Progress, hash common.Hash, raw []byte) Progress {
	if err := s.opt.Client.repeat(ctx, hash, raw); err != nil {
		p.Detail += "; " + err.Error()
	}
	return p
}

func sameOrigins(a, b []Head) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(h Head) bool {
		return !slices.ContainsFunc(b, func(o Head) bool { return o.Origin == h.Origin })
	})
}

func (s *Submitter) pending() Progress {
	f := s.j.InFlight
	last := f.Attempts[len(f.Attempts)-1]
	tx, err := last.tx()
	if err != nil {
		return Progress{Stage: Pending}
	}
	return Progress{Stage: Pending, Detail: fmt.Sprintf("size %d, nonce %d, attempt %d at %s since %s", last.Heads[0].Size, f.Nonce, len(f.Attempts), feesOf(tx), last.Made.Format(time.RFC3339))}
}

func feesOf(tx *types.Transaction) fees {
	if tx.Type() == types.LegacyTxType {
		return fees{Cap: tx.GasPrice()}
	}
	return fees{Cap: tx.GasFeeCap(), Tip: tx.GasTipCap()}
}

// Gas that a first head of an origin takes at most. What is not used costs
// nothing, and an estimate may be of a state that never comes.
const (
	gasFloor   = 45_000
	gasPerHead = 75_000
)

// Calldata calls the contract with one head, or with several that are taken all
// or none.
func Calldata(heads []Head) ([]byte, error) {
	if len(heads) == 1 {
		return anchors.Pack("anchor", heads[0].key(), heads[0].Size, heads[0].Root)
	}
	origins, sizes, roots := make([][32]byte, len(heads)), make([]uint64, len(heads)), make([][32]byte, len(heads))
	for i, h := range heads {
		origins[i], sizes[i], roots[i] = h.key(), h.Size, h.Root
	}
	return anchors.Pack("anchorBatch", origins, sizes, roots)
}

// estimate is the gas of a call after a block, with a fourth more: not on top of
// transactions that wait, of which ours may be one. The error is the contract's
// Refusal if all that answered refused alike.
func (c *Client) estimate(ctx context.Context, at Block, from common.Address, to *common.Address, data []byte) (uint64, error) {
	var most uint64
	var errs []error
	for _, a := range ask(ctx, c, func(ctx context.Context, e *endpoint) (uint64, error) {
		return e.eth.EstimateGasAtBlock(ctx, ethereum.CallMsg{From: from, To: to, Data: data}, number(at.Number))
	}) {
		if a.err != nil {
			errs = append(errs, fmt.Errorf("gas of the call: %s: %w", a.from.name, a.err))
		} else {
			most = max(most, a.value)
		}
	}
	if most == 0 {
		return 0, errors.Join(errs...)
	}
	return most + most/4, nil
}

// unclear are errors of a node that has the transaction, or may: the chain's
// state tells.
var unclear = []string{"already known", "known transaction", "already imported", "nonce too low", "nonce is too low", "alreadyexists", "already exists"}

// broadcast gives a transaction to every endpoint. One that takes it is enough.
func (c *Client) broadcast(ctx context.Context, raw []byte) error {
	var errs []error
	taken := false
	for _, a := range ask(ctx, c, func(ctx context.Context, e *endpoint) (struct{}, error) {
		return struct{}{}, e.rpc.CallContext(ctx, nil, "eth_sendRawTransaction", hexutil.Encode(raw))
	}) {
		if a.err == nil || slices.ContainsFunc(unclear, func(u string) bool { return strings.Contains(strings.ToLower(a.err.Error()), u) }) {
			taken = true
			continue
		}
		errs = append(errs, fmt.Errorf("sending: %s: %w", a.from.name, a.err))
	}
	if taken {
		return nil
	}
	return errors.Join(errs...)
}

// repeat sends a transaction again if no endpoint knows it.
func (c *Client) repeat(ctx context.Context, hash common.Hash, raw []byte) error {
	for _, a := range ask(ctx, c, func(ctx context.Context, e *endpoint) (bool, error) {
		var tx *struct{}
		err := e.rpc.CallContext(ctx, &tx, "eth_getTransactionByHash", hash)
		return tx != nil, err
	}) {
		if a.err == nil && a.value {
			return nil
		}
	}
	return c.broadcast(ctx, raw)
}

// receipt is what is read of a transaction's.
type receipt struct {
	Status  hexutil.Uint64 `json:"status"`
	GasUsed hexutil.Uint64 `json:"gasUsed"`
	Price   *hexutil.Big   `json:"effectiveGasPrice"`
	Block   *hexutil.Big   `json:"blockNumber"`
	Hash    *common.Hash   `json:"blockHash"`
}

func (c *Client) receipt(ctx context.Context, hash common.Hash) (receipt, error) {
	r, err := agreed(ctx, c, "receipt", func(ctx context.Context, e *endpoint) (*receipt, error) {
		var r *receipt
		err := e.rpc.CallContext(ctx, &r, "eth_getTransactionReceipt", hash)
		if err == nil && r != nil && (r.Block == nil || r.Hash == nil) {
			r = nil // of a pending block
		}
		return r, err
	}, func(r *receipt) string {
		if r == nil {
			return "no receipt"
		}
		return fmt.Sprintf("status %d in block %x", r.Status, r.Hash[:8])
	})
	if err == nil && r == nil {
		return receipt{}, ethereum.NotFound
	} else if err != nil {
		return receipt{}, err
	}
	return *r, nil
}
