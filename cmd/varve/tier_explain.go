package main

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/varvelog/varve/broker"
	"github.com/varvelog/varve/broker/config"
)

func tierExplainCommand(f *flags) *cobra.Command {
	var at string
	c := &cobra.Command{
		Use:   "explain TOPIC[:PARTITION]",
		Short: "Say for each segment why it is where it is, and what happens to it next",
		Long: `Say for each segment where it is, what happens to it next, when, and by which setting:
the setting's name, its value and whether it is the topic's, the broker's or a default.
What is printed is what the broker's background work decides by, evaluated at this
moment. "due" is done with the next pass of that work. Asked is the broker's HTTP
listener (varve.http.listener).`,
		Example: `  varve tier explain orders:0`,
		Args:    oneArg("topic"),
		RunE:    func(c *cobra.Command, args []string) error { return tierExplain(c, f, at, args[0]) },
	}
	c.Flags().StringVar(&at, "http", "", "`host:port` of the broker's HTTP listener; by default the host of --bootstrap-server and its port less 1000")
	return c
}

func tierExplain(c *cobra.Command, f *flags, at, what string) error {
	query := url.Values{}
	topic, partition, named := strings.Cut(what, ":")
	query.Set("topic", topic)
	if named {
		if n, err := strconv.ParseInt(partition, 10, 32); err != nil || n < 0 {
			return usagef("%s is not TOPIC or TOPIC:PARTITION", what)
		}
		query.Set("partition", partition)
	}
	all, err := askHTTP[[]broker.TierExplanation](c, f, at, "/tier/explain", query)
	if err != nil {
		return fmt.Errorf("explain %s: %w", what, err)
	}
	p := f.printer(c)
	if p.json {
		err = list(p, all)
	} else {
		err = printExplanations(p, all)
	}
	errs := []error{err}
	for _, e := range all {
		if len(e.Segments) == 0 {
			errs = append(errs, notLed(e.Topic, e.Partition, e.Leader))
		}
	}
	return errors.Join(errs...)
}

func printExplanations(p *printer, all []broker.TierExplanation) error {
	for _, e := range all {
		if len(e.Segments) == 0 {
			continue
		}
		fmt.Fprintf(p.out, "%s: log start %d, local start %d, tiered end %s, high watermark %d, end %d\n",
			partitionName(e.Topic, e.Partition), e.LogStart, e.LocalStart, number(e.TieredEnd), e.HighWatermark, e.End)
		fmt.Fprintf(p.out, "copies are made every %v, limits are applied every %v\n", duration(e.CopyEveryMs), duration(e.RetentionEveryMs))
		if c := e.Compaction; c != nil {
			fmt.Fprintln(p.out, compactionText(c))
		}
		fmt.Fprintln(p.out)
		rows := make([][]string, 0, len(e.Segments))
		for _, s := range e.Segments {
			steps := make([]string, 0, len(s.Steps))
			for _, step := range s.Steps {
				steps = append(steps, stepText(step))
			}
			if len(steps) == 0 {
				steps = []string{"stays: no limit is set"}
			}
			rows = append(rows, []string{fmt.Sprint(s.Base), fmt.Sprint(s.Next), fmt.Sprint(s.Size), placeText(s), steps[0]})
			for _, more := range steps[1:] {
				rows = append(rows, []string{"", "", "", "", more})
			}
		}
		if err := p.table([]string{"BASE", "NEXT", "BYTES", "WHERE", "WHAT HAPPENS NEXT"}, rows); err != nil {
			return err
		}
		fmt.Fprintln(p.out)
	}
	return nil
}

// compactionText is what compaction decides, on one line.
func compactionText(c *broker.CompactionState) string {
	text := fmt.Sprintf("compacted below %d; up to %d may be: %s bytes dirty of %s, ratio %.2f, due above %s", c.FirstDirty, c.Bound,
		commas(c.DirtyBytes), commas(c.CleanBytes+c.DirtyBytes), c.Ratio, settingText(c.MinRatio))
	if c.Due {
		text += ": due by " + settingText(c.By)
	}
	if c.Held != "" {
		text += "; held: " + c.Held
	}
	return text
}

// placeText says where a segment is.
func placeText(s broker.SegmentExplanation) string {
	text := map[string]string{"local": "disk", "bucket": "bucket", "both": "disk and bucket"}[s.Where]
	if s.Active {
		text += ", active"
	}
	return text
}

// stepText is one step as a clause: what, when, by which setting, and what holds it.
func stepText(s broker.Step) string {
	verb := map[string]string{"roll": "is sealed", "copy": "is copied to the bucket", "trim": "leaves the disk", "expire": "is deleted", "withdraw": "leaves the bucket", "compact": "is compacted"}[s.Action]
	if verb == "" {
		verb = s.Action
	}
	var parts []string
	switch {
	case s.Held != "" && (s.Due || s.At > 0 || s.Setting != nil):
		parts = append(parts, verb+" once it can be: "+s.Held)
	case s.Held != "":
		parts = append(parts, verb+" later: "+s.Held)
	case s.Due:
		parts = append(parts, verb+" with the next pass")
	case s.At > 0:
		parts = append(parts, verb+" at "+millis(s.At))
	case s.RoomBy != nil:
		parts = append(parts, fmt.Sprintf("%s after %s bytes more", verb, commas(s.Room)))
	default:
		parts = append(parts, verb)
	}
	switch {
	case s.Setting != nil:
		parts = append(parts, "by "+settingText(s.Setting))
	case s.Cause != "":
		parts = append(parts, "by the "+s.Cause)
	}
	if s.RoomBy != nil && (s.At > 0 || s.Setting == nil || s.Setting.Name != s.RoomBy.Name) {
		parts = append(parts, fmt.Sprintf("or after %s bytes more by %s", commas(s.Room), settingText(s.RoomBy)))
	}
	return strings.Join(parts, ", ")
}

// settingText is a setting with its value and origin: retention.ms=1000 (topic).
func settingText(s *config.Setting) string {
	switch {
	case s == nil:
		return "-"
	case s.From == config.FromBroker && s.Key != s.Name:
		return fmt.Sprintf("%s=%s (broker: %s)", s.Name, s.Value, s.Key)
	}
	return fmt.Sprintf("%s=%s (%s)", s.Name, s.Value, s.From)
}
