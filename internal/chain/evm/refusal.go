package evm

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"
)

// A Refusal is an error that the contract itself gives.
type Refusal struct {
	Name string // of the contract's error
	Args string
}

func (r *Refusal) Error() string { return "the contract refuses: " + r.Name + r.Args + r.hint() }

func (r *Refusal) hint() string {
	switch r.Name {
	case "NotSubmitter":
		return "\nhint: the contract's owner names submitters: anchor role"
	case "SubmitterPaused":
		return "\nhint: the contract's owner has paused this key"
	}
	return ""
}

// Forever reports that no later attempt with the same head can succeed.
func (r *Refusal) Forever() bool { return r.Name == "SizeSmaller" || r.Name == "RootDiffers" }

// refusal is the contract's own error inside an endpoint's, or nil.
func refusal(err error) *Refusal {
	var withData rpc.DataError
	if !errors.As(err, &withData) {
		return nil
	}
	text, ok := withData.ErrorData().(string)
	if !ok {
		return nil
	}
	data, err := hexutil.Decode(text)
	if err != nil || len(data) < 4 {
		return nil
	}
	for name, e := range anchors.Errors {
		if [4]byte(e.ID[:4]) != [4]byte(data[:4]) {
			continue
		}
		v, err := e.Inputs.Unpack(data[4:])
		if err != nil {
			return &Refusal{name, ""}
		}
		args := make([]string, len(v))
		for i, a := range v {
			if args[i] = fmt.Sprint(a); e.Inputs[i].Type.String() == "bytes32" {
				args[i] = fmt.Sprintf("%x", a)
			}
			args[i] = e.Inputs[i].Name + " " + args[i]
		}
		return &Refusal{name, "(" + strings.Join(args, ", ") + ")"}
	}
	return nil
}
