package app

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"trailmark/internal/est"
)

// reachable is the URL that devices are told: the one given with flag, or that of
// the address listened on, if it names one host.
func reachable(scheme, given, listening, flag string) (string, error) {
	if given != "" {
		u, err := url.Parse(given)
		if err != nil || u.Scheme != scheme || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" {
			return "", fmt.Errorf("%s %q is no address like %s://10.0.0.5:%s", flag, given, scheme, port(listening))
		}
		return scheme + "://" + u.Host, nil
	}
	host, _, err := net.SplitHostPort(listening)
	if err != nil {
		return "", err
	}
	if net.ParseIP(host).IsUnspecified() {
		return "", fmt.Errorf("%s listens on every address of this machine; none is known to devices\nhint: give the one they reach with %s %s://10.0.0.5:%s", listening, flag, scheme, port(listening))
	}
	return scheme + "://" + listening, nil
}

func port(address string) string {
	_, p, err := net.SplitHostPort(address)
	if err != nil {
		return "0"
	}
	return p
}

// hosts are the names that the gateway's certificate is for.
func (g *gateway) hosts() ([]string, error) {
	out := []string{"localhost", "127.0.0.1", "::1"}
	for _, address := range []string{g.conf.ESTURL, g.conf.BrokerURL, "mqtts://" + g.conf.MQTT} {
		if address == "" {
			continue
		}
		u, err := url.Parse(address)
		if err != nil {
			return nil, err
		}
		if h := u.Hostname(); h != "" && !net.ParseIP(h).IsUnspecified() {
			out = append(out, h)
		}
	}
	return out, nil
}

// estURLFile says, beside the running gateway, where devices enrol.
const estURLFile = "est.url"

func writeESTURL(dir, address string) error {
	path := filepath.Join(dir, ownDir, estURLFile)
	if err := os.WriteFile(path+".new", []byte(address+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func readESTURL(dir string) (string, error) {
	data, err := os.ReadFile(filepath.Join(dir, ownDir, estURLFile))
	if errors.Is(err, os.ErrNotExist) {
		return "", errors.New("where devices enrol is not known yet\nhint: start the gateway first, or give the address with --url")
	} else if err != nil {
		return "", err
	}
	u, err := est.ParseBase(strings.TrimSpace(string(data)))
	if err != nil {
		return "", err
	}
	return u.String(), nil
}
