// Package webhook tells a team's chat or ticket system what a migration waits
// for, as one JSON object a message. The field "text" is what Slack, Mattermost,
// Teams' workflows and Google Chat show; the others are for programs.
package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mxodus/mxodus/providers"
)

// Message is what is posted.
type Message struct {
	Text      string    `json:"text"`
	Event     string    `json:"event"` // "gate.waiting", "gate.blocked", "step.failed", "phase.done"
	Migration string    `json:"migration"`
	Subject   string    `json:"subject,omitempty"` // the gate, step or phase
	Detail    []string  `json:"detail,omitempty"`
	At        time.Time `json:"at"`
}

const (
	timeout = 10 * time.Second
	longest = 64 << 10 // words of a server that are read
)

// Post hands in one message. The address often is the secret: errors name the
// host alone.
func Post(ctx context.Context, client *http.Client, address string, m Message) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return &providers.Error{Op: "post to webhook", Reason: providers.Refused, Remedy: "give url as https://host/path"}
	}
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode the message: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return &providers.Error{Op: "post to webhook", Subject: u.Host, Reason: providers.Refused}
	}
	req.Header.Set("Content-Type", "application/json")
	own := *client
	// Followed, a redirect would take the message along, and the address, as Referer.
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := own.Do(req)
	if err != nil {
		// A *url.Error prints the whole address.
		if ue, ok := err.(*url.Error); ok {
			err = ue.Err
		}
		return &providers.Error{Op: "post to webhook", Subject: u.Host, Reason: providers.Unreachable, Err: providers.ConcealError(err, secretsOf(u)...)}
	}
	defer resp.Body.Close()
	words, err := io.ReadAll(io.LimitReader(resp.Body, longest+1)) // only for the message below
	if err != nil || len(words) > longest {
		words = nil // they may end in the middle of what is to be concealed, which then isn't recognised
	}
	if resp.StatusCode/100 != 2 {
		said := strings.ToValidUTF8(providers.Conceal(resp.Status+" "+string(words), secretsOf(u)...), "\ufffd")
		return &providers.Error{Op: "post to webhook", Subject: u.Host, Reason: providers.Refused, Server: strings.ToValidUTF8(said[:min(len(said), 512)], "")}
	}
	return nil
}

// secretsOf is what of an address lets its reader post there.
func secretsOf(u *url.URL) []string {
	secrets := []string{u.String(), u.RequestURI(), u.RawQuery}
	if password, ok := u.User.Password(); ok {
		secrets = append(secrets, password)
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if len(segment) >= 8 { // shorter ones are words, such as "hooks"
			secrets = append(secrets, segment)
		}
	}
	for _, values := range u.Query() {
		secrets = append(secrets, values...)
	}
	return secrets
}
