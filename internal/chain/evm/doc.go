// Package evm keeps ledger heads on Ethereum-style chains, in the contract of
// package anchor/contract.
//
// A [Client] reads one contract through one or several JSON-RPC endpoints. What
// it returns a quorum of them has said, of one block; an endpoint that says
// otherwise is told of in [Client.Endpoints]. It asks only for what Ethereum,
// its test nodes and FISCO BCOS 3.16 all answer (no eth_feeHistory, no
// eth_getProof) and falls back where one lacks a call: legacy fees where a block
// has no base fee, event proofs where there is no storage proof, a depth where
// there is no "finalized" tag.
//
// A [Submitter] brings heads there with one key, by these rules:
//
//   - Truth is the chain's state by (origin, size), never the fate of a
//     transaction hash. "nonce too low" and "already known" say nothing.
//   - The signed transaction is on disk, fsynced, before any endpoint sees it.
//   - One transaction of a key is in flight until its nonce is used in a final
//     block. A newer head replaces what is in flight when its fee is due to be
//     raised; a raise is by 15 % or more, as nodes want it.
//   - Chain id, genesis and the contract's code hash are pinned: at any other
//     nothing is signed.
//   - A key is leased: a lock beside its file for this machine, and for others
//     the chain's own count of the key's transactions. A foreign one holds
//     submission back and is told.
//   - A block that goes away before it was final is a reorg, after that a
//     rollback: both are alarms, and the newest head is anchored again.
//
// A head that the contract refuses for ever is parked with its reason; newer ones
// go on.
package evm
