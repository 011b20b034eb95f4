package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"verbatim/pipeline/store"
	"verbatim/pipeline/webhook"
)

// webhookSecrets is where secrets may stand, beside a file: not on the command
// line, which everybody on the machine can read.
const webhookSecrets = "VERBATIM_WEBHOOK_SECRET"

// webhooks makes a sender for each --webhook, and the store write what they send.
// It comes before everything else that writes to the store.
func (c *serveCmd) webhooks(ctx context.Context, db *store.Store, now func() time.Time, log *slog.Logger) ([]*webhook.Sender, error) {
	endpoints, secrets, err := c.webhookEndpoints()
	if err != nil {
		return nil, err
	}
	var senders []*webhook.Sender
	outbox := store.Outbox{Types: c.WebhookEvents, Wake: func() {
		for _, s := range senders {
			s.Wake()
		}
	}}
	for _, e := range endpoints {
		outbox.Endpoints = append(outbox.Endpoints, e.Name)
		senders = append(senders, webhook.New(webhook.Config{Endpoint: e, Secrets: secrets, Outbox: db, Now: now, Logger: log}))
	}
	dropped, err := db.SetOutbox(ctx, outbox)
	if dropped > 0 {
		log.Warn("events for webhooks that are not given any more were dropped", "events", dropped)
	}
	return senders, err
}

// webhookEndpoints are those of --webhook, and the secrets for them.
func (c *serveCmd) webhookEndpoints() (endpoints []webhook.Endpoint, secrets webhook.Secrets, err error) {
	if secrets, err = c.webhookSecrets(); err != nil {
		return nil, nil, err
	}
	seen := map[string]bool{}
	for i, text := range c.Webhook {
		e, err := webhook.ParseEndpoint(text)
		if err != nil {
			return nil, nil, fmt.Errorf("--webhook, number %d: %w", i+1, err)
		}
		if seen[e.Name] {
			return nil, nil, fmt.Errorf("--webhook %s is given twice", e.Text)
		}
		seen[e.Name] = true
		if len(c.Webhook) > 1 {
			e.Text = fmt.Sprintf("%s (number %d)", e.Text, i+1)
		}
		endpoints = append(endpoints, e)
	}
	return endpoints, secrets, nil
}

func (c *serveCmd) webhookSecrets() (webhook.Secrets, error) {
	if len(c.Webhook) == 0 {
		return nil, nil
	}
	b, err := readSecret("webhook-secret-file", c.WebhookSecretFile, webhookSecrets, func(b []byte) error {
		_, err := webhook.ParseSecrets(string(b))
		return err
	})
	if err != nil {
		return nil, err
	}
	if b == nil {
		return nil, errors.New("--webhook needs a secret that its events are signed with, in the environment's " + webhookSecrets +
			" or in --webhook-secret-file; make one with: echo whsec_$(openssl rand -base64 32)")
	}
	return webhook.ParseSecrets(string(b))
}
