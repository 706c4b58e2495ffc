package harness

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"
)

// Tier is what a broker says of one partition at GET /tier.
type Tier struct {
	Topic          string        `json:"topic"`
	Partition      int32         `json:"partition"`
	LogStart       int64         `json:"log_start"`
	LocalStart     int64         `json:"local_start"`
	TieredEnd      int64         `json:"tiered_end"`
	HighWatermark  int64         `json:"high_watermark"`
	End            int64         `json:"end"`
	LocalBytes     int64         `json:"local_bytes"`
	RemoteBytes    int64         `json:"remote_bytes"`
	RemoteSegments int           `json:"remote_segments"`
	DeadObjects    int           `json:"dead_objects"`
	Intents        int           `json:"intents"`
	Uncertain      bool          `json:"uncertain"`
	Error          string        `json:"error"`
	Segments       []TierSegment `json:"segments"`
}

// TierSegment is a segment in the bucket.
type TierSegment struct {
	Base int64  `json:"base"`
	Next int64  `json:"next"`
	Size int64  `json:"size"`
	Key  string `json:"key"`
}

// httpLimit bounds one request to the operators' listener.
const httpLimit = 10 * time.Second

// HTTPGet reads a page of the operators' listener.
func (b *Broker) HTTPGet(path string) ([]byte, error) {
	client := http.Client{Timeout: httpLimit}
	defer client.CloseIdleConnections()
	response, err := client.Get("http://" + b.HTTP + path)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s: %s", path, response.Status, body)
	}
	return body, err
}

// Tiers returns the state of a topic's partitions; of all topics where topic is "".
func (b *Broker) Tiers(t testing.TB, topic string) []Tier {
	t.Helper()
	tiers, err := b.TryTiers(topic)
	if err != nil {
		t.Fatal(err)
	}
	return tiers
}

// TryTiers is Tiers for a broker that may be away.
func (b *Broker) TryTiers(topic string) ([]Tier, error) {
	body, err := b.HTTPGet("/tier?topic=" + url.QueryEscape(topic))
	if err != nil {
		return nil, err
	}
	var tiers []Tier
	if err := json.Unmarshal(body, &tiers); err != nil {
		return nil, fmt.Errorf("GET /tier: %w", err)
	}
	return tiers, nil
}

// WaitTiered waits until everything but the active segments of a topic is in the
// bucket, off the local disk but for keep bytes a partition, and nothing is under way.
// A topic of which nothing has left the disk is not tiered: its test would read from there.
func (b *Broker) WaitTiered(t testing.TB, limit time.Duration, keep int64, topics ...string) {
	t.Helper()
	for _, topic := range topics {
		Until(t, limit, "tiering of "+topic, func() error {
			tiers, err := b.TryTiers(topic)
			if err == nil && !slices.ContainsFunc(tiers, func(p Tier) bool { return p.LocalStart > 0 }) {
				err = fmt.Errorf("topic %s is not there, or nothing of it has left the disk: %+v", topic, tiers)
			}
			for _, p := range tiers {
				err = firstError(err, p.settled(keep))
			}
			return err
		})
	}
}

func (p *Tier) settled(keep int64) error {
	switch {
	case p.Error != "":
		return fmt.Errorf("%s-%d: %s", p.Topic, p.Partition, p.Error)
	case p.LocalBytes > keep, p.Intents > 0, p.Uncertain:
		return fmt.Errorf("%s-%d: %d bytes on disk, %d intents, uncertain %v, local start %d, tiered end %d, end %d",
			p.Topic, p.Partition, p.LocalBytes, p.Intents, p.Uncertain, p.LocalStart, p.TieredEnd, p.End)
	}
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
