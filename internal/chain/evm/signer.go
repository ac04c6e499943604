package evm

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/accounts/keystore"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/rpc"
)

// A Signer holds one key. Safe for concurrent use.
type Signer interface {
	Address() common.Address

	// Sign returns tx signed for a chain and alters nothing else of it.
	Sign(ctx context.Context, chainID uint64, tx *types.Transaction) (*types.Transaction, error)
}

const (
	maxKeyFile = 64 << 10
	signWithin = time.Minute // Clef asks a person
)

// OpenSigner opens a key by its name: the path of a V3 keystore file, whose
// passphrase is the first line of another file; or an external signer,
// web3signer+http://host:port#0xaddress or clef+http://host:port#0xaddress, which
// needs none.
func OpenSigner(name, passphraseFile string) (Signer, error) {
	for _, kind := range []string{"web3signer", "clef"} {
		if rest, ok := strings.CutPrefix(name, kind+"+"); ok {
			return newExternal(kind, rest)
		}
	}
	if strings.Contains(name, "://") {
		return nil, fmt.Errorf("key %q is neither a file nor web3signer+http://…#0xaddress nor clef+http://…#0xaddress", redact(name))
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxKeyFile {
		return nil, fmt.Errorf("%s: %d bytes are over the limit of %d", name, info.Size(), maxKeyFile)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if passphraseFile == "" {
		return nil, fmt.Errorf("%s is sealed by a passphrase\nhint: name the file that holds it", name)
	}
	pass, err := os.ReadFile(passphraseFile)
	if err != nil {
		return nil, err
	}
	line, _, _ := bytes.Cut(pass, []byte("\n"))
	key, err := keystore.DecryptKey(data, strings.TrimSuffix(string(line), "\r"))
	if err != nil {
		return nil, fmt.Errorf("%s: %w\nhint: want a V3 keystore file and, as the first line of %s, its passphrase", name, err, passphraseFile)
	}
	return Local{key.PrivateKey}, nil
}

// Local is a key in this process.
type Local struct{ Key *ecdsa.PrivateKey }

func (l Local) Address() common.Address { return crypto.PubkeyToAddress(l.Key.PublicKey) }

func (l Local) Sign(_ context.Context, chainID uint64, tx *types.Transaction) (*types.Transaction, error) {
	return types.SignTx(tx, types.LatestSignerForChainID(number(chainID)), l.Key)
}

// NewKey writes a new key as a V3 keystore file, which must not exist, sealed by
// the first line of passphraseFile.
func NewKey(path, passphraseFile string) (common.Address, error) {
	pass, err := os.ReadFile(passphraseFile)
	if err != nil {
		return common.Address{}, err
	}
	line, _, _ := bytes.Cut(pass, []byte("\n"))
	if line = bytes.TrimSuffix(line, []byte("\r")); len(line) == 0 {
		return common.Address{}, fmt.Errorf("%s: its first line is empty, want a passphrase", passphraseFile)
	}
	key, err := crypto.GenerateKey()
	if err != nil {
		return common.Address{}, err
	}
	return Local{key}.Address(), seal(path, key, string(line), keystore.StandardScryptN, keystore.StandardScryptP)
}

func seal(path string, key *ecdsa.PrivateKey, pass string, n, p int) error {
	data, err := keystore.EncryptKey(&keystore.Key{Address: crypto.PubkeyToAddress(key.PublicKey), PrivateKey: key}, pass, n, p)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// external asks Web3Signer (eth_signTransaction) or Clef (account_signTransaction)
// and trusts it with the key alone: what comes back must be what was asked for.
type external struct {
	clef    bool
	url     string
	address common.Address
	rpc     *rpc.Client
}

func newExternal(kind, s string) (*external, error) {
	url, address, _ := strings.Cut(s, "#")
	x := &external{clef: kind == "clef", url: url}
	if err := unhex(x.address[:], address); err != nil {
		return nil, fmt.Errorf("address after # of the signer %s: %w", redact(url), err)
	}
	var err error
	if x.rpc, err = rpc.DialOptions(context.Background(), url, rpc.WithHTTPClient(&http.Client{Timeout: signWithin, Transport: limited{http.DefaultTransport}})); err != nil {
		return nil, fmt.Errorf("signer %s: %s", redact(url), clean(err, url))
	}
	return x, nil
}

func (x *external) Address() common.Address { return x.address }

// request is a transaction as both protocols take it.
type request struct {
	From     common.Address  `json:"from"`
	To       *common.Address `json:"to"`
	Gas      hexutil.Uint64  `json:"gas"`
	GasPrice *hexutil.Big    `json:"gasPrice,omitempty"`
	Cap      *hexutil.Big    `json:"maxFeePerGas,omitempty"`
	Tip      *hexutil.Big    `json:"maxPriorityFeePerGas,omitempty"`
	Value    *hexutil.Big    `json:"value"`
	Nonce    hexutil.Uint64  `json:"nonce"`
	Data     hexutil.Bytes   `json:"data"`
	ChainID  *hexutil.Big    `json:"chainId"`
}

func (x *external) Sign(ctx context.Context, chainID uint64, tx *types.Transaction) (*types.Transaction, error) {
	q := request{From: x.address, To: tx.To(), Gas: hexutil.Uint64(tx.Gas()), Value: (*hexutil.Big)(new(big.Int)),
		Nonce: hexutil.Uint64(tx.Nonce()), Data: tx.Data(), ChainID: (*hexutil.Big)(number(chainID))}
	if tx.Type() == types.LegacyTxType {
		q.GasPrice = (*hexutil.Big)(tx.GasPrice())
	} else {
		q.Cap, q.Tip = (*hexutil.Big)(tx.GasFeeCap()), (*hexutil.Big)(tx.GasTipCap())
	}
	var raw hexutil.Bytes
	var err error
	if x.clef {
		var answer struct {
			Raw hexutil.Bytes `json:"raw"`
		}
		err = x.rpc.CallContext(ctx, &answer, "account_signTransaction", q)
		raw = answer.Raw
	} else {
		err = x.rpc.CallContext(ctx, &raw, "eth_signTransaction", q)
	}
	if err != nil {
		return nil, fmt.Errorf("signer %s: %w", redact(x.url), clean(err, x.url))
	}
	var signed types.Transaction
	if err := signed.UnmarshalBinary(raw); err != nil {
		return nil, fmt.Errorf("signer %s: its answer of %d bytes is no transaction: %w", redact(x.url), len(raw), err)
	}
	s := types.LatestSignerForChainID(number(chainID))
	if s.Hash(&signed) != s.Hash(tx) || signed.Type() != tx.Type() {
		return nil, fmt.Errorf("signer %s: signed another transaction than it was asked to", redact(x.url))
	}
	from, err := types.Sender(s, &signed)
	if err != nil {
		return nil, fmt.Errorf("signer %s: %w", redact(x.url), err)
	}
	if from != x.address {
		return nil, fmt.Errorf("signer %s: signed with the key of %s, want %s", redact(x.url), from, x.address)
	}
	return &signed, nil
}
