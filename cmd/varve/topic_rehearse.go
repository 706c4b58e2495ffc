package main

import (
	"errors"
	"fmt"
	"net/url"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/varvelog/varve/broker"
)

// rehearseTopic is alter --dry-run.
func rehearseTopic(c *cobra.Command, f *flags, at, topic string, partitions int32, change configChange) error {
	alter, err := change.parse()
	switch {
	case err != nil:
		return err
	case partitions != 0:
		return usagef("--dry-run is of configs: adding partitions touches no segment")
	case len(alter) == 0:
		return usagef("nothing to rehearse: give --config or --delete-config")
	}
	query := url.Values{"topic": {topic}}
	for _, a := range alter {
		if a.Op == kadm.DeleteConfig {
			query.Add("delete", a.Name)
		} else {
			query.Add("set", a.Name+"="+*a.Value)
		}
	}
	all, err := askHTTP[[]broker.Rehearsal](c, f, at, "/tier/rehearse", query)
	if err != nil {
		return fmt.Errorf("rehearse a change of topic %s: %w", topic, err)
	}
	p := f.printer(c)
	if p.json {
		err = list(p, all)
	} else {
		err = printRehearsal(p, all)
	}
	errs := []error{err}
	for _, r := range all {
		switch {
		case r.Error != "":
			errs = append(errs, fmt.Errorf("%s: %s", partitionName(r.Topic, r.Partition), r.Error))
		case !r.Here:
			errs = append(errs, notLed(r.Topic, r.Partition, r.Leader))
		}
	}
	return errors.Join(errs...)
}

// notLed says of a partition whom to ask instead.
func notLed(topic string, partition, leader int32) error {
	if leader < 0 {
		return fmt.Errorf("%s has no leader just now: nobody plans for it", partitionName(topic, partition))
	}
	return fmt.Errorf("%s is led by broker %d: ask that one's HTTP listener (--http)", partitionName(topic, partition), leader)
}

func printRehearsal(p *printer, all []broker.Rehearsal) error {
	var rows [][]string
	bytes := map[string]int64{}
	segments := map[string]int{}
	puts, deletes := 0, 0
	for _, r := range all {
		puts, deletes = puts+r.Requests.Puts, deletes+r.Requests.Deletes
		for _, t := range r.Touched {
			note := ""
			if t.Anyway {
				note = "also without the change"
			}
			rows = append(rows, []string{
				r.Topic, fmt.Sprint(r.Partition), fmt.Sprint(t.Base), fmt.Sprint(t.Next), fmt.Sprint(t.Size), t.Action, settingText(t.Setting), dash(note),
			})
			bytes[t.Action] += t.Size
			segments[t.Action]++
		}
	}
	if len(rows) == 0 {
		fmt.Fprintln(p.out, "The change touches no segment now.")
		return nil
	}
	if err := p.table([]string{"TOPIC", "PARTITION", "BASE", "NEXT", "BYTES", "ACTION", "SETTING", "NOTE"}, rows); err != nil {
		return err
	}
	fmt.Fprintln(p.out)
	for _, action := range []string{"roll", "compact", "copy", "trim", "expire", "withdraw"} {
		if n := segments[action]; n > 0 {
			fmt.Fprintf(p.out, "%s: %d segments, %s bytes\n", action, n, commas(bytes[action]))
		}
	}
	fmt.Fprintf(p.out, "requests to the bucket: %d PUT, %d DELETE\n", puts, deletes)
	return nil
}
