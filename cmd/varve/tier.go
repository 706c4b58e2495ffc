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

	"github.com/varvelog/varve/broker"
)

func tierCommand(f *flags) *cobra.Command {
	return family("tier", "Look at what lies in the bucket", tierStatusCommand(f), tierExplainCommand(f))
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
			keep := func(t broker.TierStatus) bool { return internal || len(args) > 0 || !strings.HasPrefix(t.Topic, "__") }
			return tierStatus(c, f, at, strings.Join(args, ""), keep, segments)
		},
	}
	c.Flags().StringVar(&at, "http", "", "`host:port` of the broker's HTTP listener; by default the host of --bootstrap-server and its port less 1000")
	c.Flags().BoolVar(&internal, "internal", false, "show the broker's own topics too")
	c.Flags().BoolVar(&segments, "segments", false, "show each segment in the bucket")
	return c
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

func tierStatus(c *cobra.Command, f *flags, at, topic string, keep func(broker.TierStatus) bool, segments bool) error {
	partitions, err := askHTTP[[]broker.TierStatus](c, f, at, "/tier", url.Values{"topic": {topic}})
	if err != nil {
		return err
	}
	if topic != "" && len(partitions) == 0 {
		return fmt.Errorf("the broker has no partition of topic %s", topic)
	}
	partitions = slices.DeleteFunc(partitions, func(t broker.TierStatus) bool { return !keep(t) })
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

// askHTTP asks a broker's HTTP listener, the one of the first bootstrap server where at
// is empty, and decodes the answer. What the broker refuses is told in its own sentence.
func askHTTP[T any](c *cobra.Command, f *flags, at, path string, query url.Values) (T, error) {
	var v T
	if at == "" {
		var err error
		if at, err = f.httpAddress(); err != nil {
			return v, err
		}
	}
	ctx, cancel := context.WithTimeout(c.Context(), f.timeout)
	defer cancel()
	u := url.URL{Scheme: "http", Host: at, Path: path, RawQuery: query.Encode()}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return v, usagef("--http %s is not host:port", at)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return v, fmt.Errorf("nobody answers at http://%s: is the broker running there, and is its varve.http.listener that? (%w)", at, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return v, httpRefusal(at, path, answer)
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxStatus)).Decode(&v); err != nil {
		return v, fmt.Errorf("http://%s%s does not answer as a varve broker does: %w", at, path, err)
	}
	return v, nil
}

// maxSentence bounds the sentence of a refusal.
const maxSentence = 64 << 10

// httpRefusal words an answer that is none: by the broker's sentence where it is plainly
// one, else by the status.
func httpRefusal(at, path string, answer *http.Response) error {
	sentence, err := io.ReadAll(io.LimitReader(answer.Body, maxSentence))
	plain := strings.HasPrefix(answer.Header.Get("Content-Type"), "text/plain") && answer.Header.Get("X-Varve") != ""
	if err == nil && plain {
		return errors.New(strings.TrimSpace(string(sentence)))
	}
	return fmt.Errorf("http://%s%s answers %s: is it a varve broker's HTTP listener?", at, path, answer.Status)
}

func printTier(p *printer, partitions []broker.TierStatus, segments bool) error {
	rows := make([][]string, len(partitions))
	for i, t := range partitions {
		rows[i] = []string{
			t.Topic, fmt.Sprint(t.Partition), fmt.Sprint(t.LogStart), fmt.Sprint(t.LocalStart), number(t.TieredEnd), fmt.Sprint(t.End),
			size(t.LocalBytes), size(t.RemoteBytes), fmt.Sprint(t.RemoteSegments), tierState(t),
		}
	}
	err := p.table([]string{"TOPIC", "PARTITION", "LOG-START", "LOCAL-START", "TIERED-END", "END", "LOCAL", "BUCKET", "SEGMENTS", "STATE"}, rows)
	if err != nil {
		return err
	}
	for _, t := range partitions {
		for _, d := range t.Damaged {
			fmt.Fprintf(p.out, "%s-%d: %s: %s: %s\n", t.Topic, t.Partition, d.Kind, d.Key, d.Detail)
		}
	}
	if !segments {
		return nil
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

// tierState says in a few words how the bucket and the disk stand to each other.
func tierState(t broker.TierStatus) string {
	switch {
	case t.Error != "":
		return "error"
	case t.TieredEnd < 0:
		return "not tiered"
	case len(t.Damaged) > 0:
		return fmt.Sprintf("%d damaged objects", len(t.Damaged))
	case t.Uncertain:
		return "outcome of a commit unknown"
	case t.Intents > 0:
		return "copying"
	case t.DeadObjects > 0:
		return fmt.Sprintf("%d dead objects", t.DeadObjects)
	}
	return "ok"
}
