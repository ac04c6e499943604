package evm

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"

	"trailmark/anchor/contract"
)

// Done is what a transaction of an owner left.
type Done struct {
	Tx       common.Hash
	Block    uint64
	Gas      uint64
	Wei      *big.Int
	Contract common.Address // of a deployment
}

// Deploy makes a new contract owned by owner, which may be a multisig wallet, and
// waits for its block. sent is told the address beforehand: a time-out is no
// failure.
func (c *Client) Deploy(ctx context.Context, key Signer, owner common.Address, sent func(tx common.Hash, contract common.Address)) (Done, error) {
	arg, err := anchors.Constructor.Inputs.Pack(owner)
	if err != nil {
		return Done{}, err
	}
	return c.transact(ctx, key, nil, append(append([]byte{}, contract.Load().Bytecode...), arg...), sent)
}

// A Role is what an address may do for an origin.
type Role uint8

// Roles, as the contract numbers them.
const (
	NoRole Role = iota
	SubmitterRole
	PausedRole
)

// SetRole gives, pauses or takes a role; key must be the owner's.
func (c *Client) SetRole(ctx context.Context, key Signer, origin string, who common.Address, role Role) (Done, error) {
	return c.owner(ctx, key, "setRole", Head{Origin: origin}.key(), who, uint8(role))
}

// RoleCalldata is what a wallet that owns the contract sends to it, in hex.
func RoleCalldata(origin string, who common.Address, role Role) (string, error) {
	data, err := anchors.Pack("setRole", Head{Origin: origin}.key(), who, uint8(role))
	return hexutil.Encode(data), err
}

// OfferOwnership offers the contract to another address, which must accept.
func (c *Client) OfferOwnership(ctx context.Context, key Signer, to common.Address) (Done, error) {
	return c.owner(ctx, key, "offerOwnership", to)
}

// AcceptOwnership accepts an offer to key.
func (c *Client) AcceptOwnership(ctx context.Context, key Signer) (Done, error) {
	return c.owner(ctx, key, "acceptOwnership")
}

func (c *Client) owner(ctx context.Context, key Signer, method string, args ...any) (Done, error) {
	data, err := anchors.Pack(method, args...)
	if err != nil {
		return Done{}, err
	}
	if _, err := c.Pins(ctx); err != nil {
		return Done{}, err
	}
	return c.transact(ctx, key, &c.target.Contract, data, nil)
}

// transact sends one transaction and waits for its block. It is for what a person
// does once and looks at; heads go through a Submitter.
func (c *Client) transact(ctx context.Context, key Signer, to *common.Address, data []byte, sent func(common.Hash, common.Address)) (Done, error) {
	pins, err := c.chain(ctx)
	if err != nil {
		return Done{}, err
	}
	latest, err := c.reached(ctx, "latest")
	if err != nil {
		return Done{}, err
	}
	nonce, err := c.nonceAt(ctx, latest, key.Address())
	if err != nil {
		return Done{}, err
	}
	if pending := c.pendingNonce(ctx, key.Address()); pending > nonce {
		return Done{}, fmt.Errorf("%d transactions of %s wait already\nhint: try again when they are in a block", pending-nonce, key.Address())
	}
	gas, err := c.estimate(ctx, latest, key.Address(), to, data)
	if r := refusal(err); r != nil {
		return Done{}, r
	} else if err != nil {
		return Done{}, err
	}
	f, err := c.suggest(ctx, latest)
	if err != nil {
		return Done{}, err
	}
	if most := c.target.MaxFee; most != nil && f.Cap.Cmp(most) > 0 {
		return Done{}, fmt.Errorf("gas costs %s, the limit is %s\nhint: max-fee=GWEI after # of the chain", f, fees{Cap: most})
	}
	tx, err := key.Sign(ctx, pins.ChainID, transaction(pins.ChainID, nonce, to, data, gas, f))
	if err != nil {
		return Done{}, err
	}
	raw, err := tx.MarshalBinary()
	if err != nil {
		return Done{}, err
	}
	made := common.Address{}
	if to == nil {
		made = crypto.CreateAddress(key.Address(), nonce)
	}
	if sent != nil {
		sent(tx.Hash(), made)
	}
	if err := c.broadcast(ctx, raw); err != nil {
		return Done{}, err
	}
	for {
		r, err := c.receipt(ctx, tx.Hash())
		switch {
		case err == nil && r.Status != 1:
			return Done{}, fmt.Errorf("transaction %s was reverted in block %d", tx.Hash(), r.Block.ToInt())
		case err == nil:
			price := (*big.Int)(r.Price)
			if price == nil {
				price = tx.GasPrice()
			}
			return Done{tx.Hash(), r.Block.ToInt().Uint64(), uint64(r.GasUsed), new(big.Int).Mul(price, number(uint64(r.GasUsed))), made}, nil
		case !errors.Is(err, ethereum.NotFound) && ctx.Err() == nil && !errors.Is(err, ErrDisagree):
			return Done{}, err
		}
		select {
		case <-ctx.Done():
			return Done{}, fmt.Errorf("no block has transaction %s yet: %w\nhint: it may still get into one; look before you send another", tx.Hash(), ctx.Err())
		case <-time.After(500 * time.Millisecond):
		}
	}
}
