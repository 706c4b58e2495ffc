package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func configCommand(f *flags) *cobra.Command {
	return family("config", "Describe and alter the configs of topics and brokers",
		family("describe", "Show configs, and where each value comes from",
			configDescribeTopicCommand(f), configDescribeBrokerCommand(f)),
		family("alter", "Set configs, or go back to their defaults",
			configAlterTopicCommand(f), configAlterBrokerCommand(f)))
}

// configChange is what --config and --delete-config ask for.
type configChange struct{ set, remove []string }

func (c *configChange) register(command *cobra.Command) {
	s := command.Flags()
	s.StringArrayVar(&c.set, "config", nil, "set a config, as `key=value`; may be repeated")
	s.StringArrayVar(&c.remove, "delete-config", nil, "let a config, `key`, have its default again; may be repeated")
}

// parse returns the change as kadm wants it, in the order of keys.
func (c *configChange) parse() ([]kadm.AlterConfig, error) {
	set, err := parseConfigs(c.set)
	if err != nil {
		return nil, err
	}
	var alter []kadm.AlterConfig
	for key, value := range set {
		alter = append(alter, kadm.AlterConfig{Op: kadm.SetConfig, Name: key, Value: &value})
	}
	for _, key := range c.remove {
		if _, both := set[key]; both || key == "" {
			return nil, usagef("--delete-config %q: the key is empty, or set as well", key)
		}
		alter = append(alter, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: key})
	}
	slices.SortFunc(alter, func(x, y kadm.AlterConfig) int { return strings.Compare(x.Name, y.Name) })
	return alter, nil
}

func alterTopicConfigs(ctx context.Context, a *kadm.Client, topic string, alter []kadm.AlterConfig) error {
	answers, err := a.AlterTopicConfigs(ctx, alter, topic)
	return altered("topic "+topic, answers, err)
}

// altered words the answer to a change of one resource.
func altered(what string, answers kadm.AlterConfigsResponses, err error) error {
	errs := []error{err}
	for _, r := range answers {
		errs = append(errs, refusal(r.Err, r.ErrMessage))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("alter configs of %s: %w", what, err)
	}
	return nil
}

// describedConfig is what is printed of a config.
type describedConfig struct {
	Key       string  `json:"key"`
	Value     *string `json:"value"` // null: not set, or secret
	Source    string  `json:"source"`
	Sensitive bool    `json:"sensitive,omitempty"`
}

// source says in words where a value comes from.
func source(s kmsg.ConfigSource) string {
	switch s {
	case kmsg.ConfigSourceDynamicTopicConfig:
		return "topic"
	case kmsg.ConfigSourceDynamicBrokerConfig:
		return "broker, altered"
	case kmsg.ConfigSourceDynamicDefaultBrokerConfig:
		return "all brokers, altered"
	case kmsg.ConfigSourceStaticBrokerConfig:
		return "broker, at its start"
	case kmsg.ConfigSourceDefaultConfig:
		return "default"
	}
	return "unknown"
}

// printConfigs prints the configs of one resource: all, or those that are not defaults.
func printConfigs(p *printer, r kadm.ResourceConfig, all bool) error {
	var configs []describedConfig
	for _, c := range r.Configs {
		if all || c.Source != kmsg.ConfigSourceDefaultConfig {
			configs = append(configs, describedConfig{c.Key, c.Value, source(c.Source), c.Sensitive})
		}
	}
	slices.SortFunc(configs, func(x, y describedConfig) int { return strings.Compare(x.Key, y.Key) })
	if p.json {
		return list(p, configs)
	}
	if len(configs) == 0 {
		p.note("nothing but defaults; --all shows them")
		return nil
	}
	rows := make([][]string, len(configs))
	for i, c := range configs {
		value := ""
		switch {
		case c.Sensitive:
			value = "(secret)"
		case c.Value != nil:
			value = *c.Value
		}
		rows[i] = []string{c.Key, dash(value), c.Source}
	}
	return p.table([]string{"KEY", "VALUE", "SOURCE"}, rows)
}

// describedOne takes the one resource out of an answer.
func describedOne(what string, answers kadm.ResourceConfigs, err error) (kadm.ResourceConfig, error) {
	if err == nil && len(answers) != 1 {
		err = fmt.Errorf("the broker answered with %d resources", len(answers))
	}
	if err == nil {
		err = refusal(answers[0].Err, answers[0].ErrMessage)
	}
	if err != nil {
		return kadm.ResourceConfig{}, fmt.Errorf("describe configs of %s: %w", what, err)
	}
	return answers[0], nil
}

// knownBrokers tells whether the cluster has each broker of ids: the client's own error
// for one that it has not names a request in place of the broker.
func knownBrokers(ctx context.Context, a *kadm.Client, ids []int32) error {
	if len(ids) == 0 {
		return nil
	}
	brokers, err := a.ListBrokers(ctx)
	if err != nil {
		return err
	}
	known := brokers.NodeIDs()
	for _, id := range ids {
		if !slices.Contains(known, id) {
			return fmt.Errorf("the cluster has no such broker; it has %s", strings.Trim(fmt.Sprint(known), "[]"))
		}
	}
	return nil
}

// brokerArg reads the optional id of a broker; without it, all brokers are meant.
func brokerArg(args []string) (ids []int32, what string, err error) {
	if len(args) == 0 {
		return nil, "all brokers", nil
	}
	id, err := strconv.ParseInt(args[0], 10, 32)
	if err != nil || id < 0 {
		return nil, "", usagef("%q is not the id of a broker", args[0])
	}
	return []int32{int32(id)}, "broker " + args[0], nil
}
