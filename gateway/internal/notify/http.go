package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// webhook sends as Standard Webhooks (standardwebhooks.com) describes: the
// signature is of id, time and body, so that a copy is of no use to anybody later,
// and the id tells a repetition.
func (t *Target) webhook(ctx context.Context, c *http.Client, key string, m Message, now time.Time) error {
	body, err := json.Marshal(map[string]any{"type": "alarm." + m.What, "data": m})
	if err != nil {
		return err
	}
	at := strconv.FormatInt(now.Unix(), 10)
	_, _, err = t.post(ctx, c, t.url, body, http.Header{"Webhook-Id": {key}, "Webhook-Timestamp": {at}, "Idempotency-Key": {key},
		"Webhook-Signature": {"v1," + hmacBase64(t.key, key+"."+at+"."+string(body))}})
	return err
}

func hmacBase64(key []byte, text string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// Bounds of the robots' texts in bytes; WeCom's is its documentation's, the others
// take more than we say.
const (
	wecomText = 2048
	robotText = 16 << 10
)

// wecom sends a text as developer.work.weixin.qq.com/document/path/91770 says.
func (t *Target) wecom(ctx context.Context, c *http.Client, m Message) error {
	return t.robot(ctx, c, t.url, map[string]any{"msgtype": "text", "text": map[string]any{"content": clip(m.Text(), wecomText)}},
		45009) // too many in a minute
}

// dingtalk sends a text as open.dingtalk.com says of robots with a sign: base64 of
// HMAC-SHA256 under the secret of the time in ms, a line feed and the secret.
func (t *Target) dingtalk(ctx context.Context, c *http.Client, m Message, now time.Time) error {
	u := *t.url
	if t.Secret != "" {
		at := strconv.FormatInt(now.UnixMilli(), 10)
		q := u.Query()
		q.Set("timestamp", at)
		q.Set("sign", hmacBase64([]byte(t.Secret), at+"\n"+t.Secret))
		u.RawQuery = q.Encode()
	}
	return t.robot(ctx, c, &u, map[string]any{"msgtype": "text", "text": map[string]any{"content": clip(m.Text(), robotText)}},
		130101, 410100) // too many in a minute
}

// feishu sends a text as open.feishu.cn says of custom bots: the sign is base64 of
// HMAC-SHA256 of nothing, under the time in s, a line feed and the secret.
func (t *Target) feishu(ctx context.Context, c *http.Client, m Message, now time.Time) error {
	body := map[string]any{"msg_type": "text", "content": map[string]any{"text": clip(m.Text(), robotText)}}
	if t.Secret != "" {
		at := strconv.FormatInt(now.Unix(), 10)
		body["timestamp"], body["sign"] = at, hmacBase64([]byte(at+"\n"+t.Secret), "")
	}
	return t.robot(ctx, c, t.url, body, 9499, 11232) // too many
}

// robot posts a message; the robots' answers have a code of their own, with status
// 200 also where they refuse. Codes of busy mean that it may work later.
func (t *Target) robot(ctx context.Context, c *http.Client, u *url.URL, message map[string]any, busy ...int) error {
	body, err := json.Marshal(message)
	if err != nil {
		return err
	}
	_, answer, err := t.post(ctx, c, u, body, http.Header{})
	if err != nil {
		return err
	}
	var said struct {
		ErrCode, Code *int
		ErrMsg, Msg   string
	}
	if err := json.Unmarshal(answer, &said); err != nil {
		return errors.New("the answer is no JSON")
	}
	code, words := said.ErrCode, said.ErrMsg
	if code == nil {
		code, words = said.Code, said.Msg
	}
	switch {
	case code == nil:
		return errors.New("the answer has no code")
	case *code == 0:
		return nil
	}
	msg := fmt.Sprintf("%s answered %d: %s", t.Type, *code, clip(words, 200))
	for _, b := range busy {
		if *code == b {
			return &Later{msg, time.Minute}
		}
	}
	return &Refusal{msg}
}

// post makes one request. Errors name no address: it may be a secret.
func (t *Target) post(ctx context.Context, c *http.Client, u *url.URL, body []byte, h http.Header) (status int, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return 0, nil, errors.New("the address makes no request")
	}
	req.Header = h
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("User-Agent", "Trailmark-gateway")
	resp, err := c.Do(req)
	if err != nil {
		var with *url.Error // its text has the whole address
		if errors.As(err, &with) {
			err = with.Err
		}
		return 0, nil, fmt.Errorf("%s: %w", u.Host, err)
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return 0, nil, fmt.Errorf("%s: %w", u.Host, err)
	}
	msg := fmt.Sprintf("%s answered %d %s", u.Host, resp.StatusCode, http.StatusText(resp.StatusCode))
	switch s := resp.StatusCode; {
	case s >= 200 && s < 300:
		return s, answer, nil
	case s >= 300 && s < 400:
		return s, nil, &Refusal{msg + "; redirects are not followed"}
	case s == http.StatusRequestTimeout, s == http.StatusTooEarly, s == http.StatusTooManyRequests, s == http.StatusServiceUnavailable:
		after, _ := strconv.Atoi(resp.Header.Get("Retry-After")) // a date, or nothing: as after any failure
		return s, nil, &Later{msg, time.Duration(min(max(after, 0), 3600)) * time.Second}
	case s >= 400 && s < 500:
		return s, nil, &Refusal{msg}
	default:
		return s, nil, errors.New(msg)
	}
}
