package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

func tierCommand(f *flags) *cobra.Command {
	return family("tier", "Look at what lies in the bucket", tierStatusCommand(f))
}

func tierStatusCommand(f *flags) *cobra.Command {
	var at string
	var segments, internal bool
	c := &cobra.Command{
		Use:   "status [TOPIC]",
		Short: "Show where the records of each partition are: on disk, in the bucket, or both",
		Long: `Show where the records of each partition are. LOG-START is the first offset that can be
read, LOCAL-START the first on disk, TIERED-END one past the last in the bucket, END the
next to be written. Asked is the broker's HTTP listener (varve.http.listener).`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			keep := func(t tierPartition) bool { return internal || len(args) > 0 || !strings.HasPrefix(t.Topic, "__") }
			return tierStatus(c, f, at, strings.Join(args, ""), keep, segments)
		},
	}
	c.Flags().StringVar(&at, "http", "", "`host:port` of the broker's HTTP listener; by default the host of --bootstrap-server and its port less 1000")
	c.Flags().BoolVar(&internal, "internal", false, "show the broker's own topics too")
	c.Flags().BoolVar(&segments, "segments", false, "show each segment in the bucket")
	return c
}

// tierPartition is what GET /tier says of a partition.
type tierPartition struct {
	Topic          string        `json:"topic"`
	Partition      int32         `json:"partition"`
	LogStart       int64         `json:"log_start"`
	LocalStart     int64         `json:"local_start"`
	TieredEnd      int64         `json:"tiered_end"` // -1: not tiered
	HighWatermark  int64         `json:"high_watermark"`
	End            int64         `json:"end"`
	LocalBytes     int64         `json:"local_bytes"`
	RemoteBytes    int64         `json:"remote_bytes"`
	RemoteSegments int           `json:"remote_segments"`
	DeadObjects    int           `json:"dead_objects"` // wait for their deletion
	Intents        int           `json:"intents"`      // uploads under way or given up
	Uncertain      bool          `json:"uncertain"`    // the outcome of a commit is not known yet
	Error          string        `json:"error,omitempty"`
	Segments       []tierSegment `json:"segments"`
}

// tierSegment is a segment in the bucket.
type tierSegment struct {
	Base         int64  `json:"base"`
	Next         int64  `json:"next"`
	Size         int64  `json:"size"`          // bytes
	MaxTimestamp int64  `json:"max_timestamp"` // ms
	Epoch        int32  `json:"epoch"`
	Key          string `json:"key"`
}

// httpPortBelow is how far the HTTP listener's port lies below the first listener's,
// unless varve.http.listener says otherwise.
const httpPortBelow = 1000

// httpAddress is where the HTTP listener of the first bootstrap server is by default.
func (f *flags) httpAddress() (string, error) {
	seeds, err := f.seeds()
	if err != nil {
		return "", err
	}
	host, text, err := net.SplitHostPort(seeds[0])
	if err != nil {
		return "", usagef("--bootstrap-server %s is not host:port", seeds[0])
	}
	port, err := strconv.Atoi(text)
	if err != nil || port <= httpPortBelow {
		return "", usagef("give --http: the HTTP listener's port cannot be told from %s", seeds[0])
	}
	return net.JoinHostPort(host, strconv.Itoa(port-httpPortBelow)), nil
}

func tierStatus(c *cobra.Command, f *flags, at, topic string, keep func(tierPartition) bool, segments bool) error {
	if at == "" {
		var err error
		if at, err = f.httpAddress(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(c.Context(), f.timeout)
	defer cancel()
	partitions, err := fetchTier(ctx, at, topic)
	if err != nil {
		return err
	}
	if topic != "" && len(partitions) == 0 {
		return fmt.Errorf("the broker has no partition of topic %s", topic)
	}
	partitions = slices.DeleteFunc(partitions, func(t tierPartition) bool { return !keep(t) })
	p := f.printer(c)
	if p.json {
		err = list(p, partitions)
	} else {
		err = printTier(p, partitions, segments)
	}
	errs := []error{err}
	for _, t := range partitions {
		if t.Error != "" {
			errs = append(errs, fmt.Errorf("%s: %s", partitionName(t.Topic, t.Partition), t.Error))
		}
	}
	return errors.Join(errs...)
}

// maxStatus bounds what is read from the broker: a million segments in the bucket.
const maxStatus = 512 << 20

// fetchTier asks a broker's HTTP listener.
func fetchTier(ctx context.Context, at, topic string) ([]tierPartition, error) {
	u := url.URL{Scheme: "http", Host: at, Path: "/tier", RawQuery: url.Values{"topic": {topic}}.Encode()}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, usagef("--http %s is not host:port", at)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, fmt.Errorf("nobody answers at http://%s: is the broker running there, and is its varve.http.listener that? (%w)", at, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("http://%s/tier answers %s: is it a varve broker's HTTP listener?", at, answer.Status)
	}
	var partitions []tierPartition
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxStatus)).Decode(&partitions); err != nil {
		return nil, fmt.Errorf("http://%s/tier does not answer as a varve broker does: %w", at, err)
	}
	return partitions, nil
}

func printTier(p *printer, partitions []tierPartition, segments bool) error {
	rows := make([][]string, len(partitions))
	for i, t := range partitions {
		rows[i] = []string{
			t.Topic, fmt.Sprint(t.Partition), fmt.Sprint(t.LogStart), fmt.Sprint(t.LocalStart), number(t.TieredEnd), fmt.Sprint(t.End),
			size(t.LocalBytes), size(t.RemoteBytes), fmt.Sprint(t.RemoteSegments), t.state(),
		}
	}
	err := p.table([]string{"TOPIC", "PARTITION", "LOG-START", "LOCAL-START", "TIERED-END", "END", "LOCAL", "BUCKET", "SEGMENTS", "STATE"}, rows)
	if err != nil || !segments {
		return err
	}
	fmt.Fprintln(p.out)
	rows = nil
	for _, t := range partitions {
		for _, s := range t.Segments {
			rows = append(rows, []string{t.Topic, fmt.Sprint(t.Partition), fmt.Sprint(s.Base), fmt.Sprint(s.Next), size(s.Size), millis(s.MaxTimestamp), s.Key})
		}
	}
	return p.table([]string{"TOPIC", "PARTITION", "BASE", "NEXT", "SIZE", "MAX-TIMESTAMP", "OBJECT"}, rows)
}

// state says in a few words how the bucket and the disk stand to each other.
func (t *tierPartition) state() string {
	switch {
	case t.Error != "":
		return "error"
	case t.TieredEnd < 0:
		return "not tiered"
	case t.Uncertain:
		return "outcome of a commit unknown"
	case t.Intents > 0:
		return "copying"
	case t.DeadObjects > 0:
		return fmt.Sprintf("%d dead objects", t.DeadObjects)
	}
	return "ok"
}
