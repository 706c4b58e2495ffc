package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// bootstrapVariable names the broker for all commands of a shell.
const bootstrapVariable = "VARVE_BOOTSTRAP_SERVER"

// flags are what all commands that talk to a broker share.
type flags struct {
	bootstrap string // host:port, separated by commas
	output    format
	json      bool // short for --output json
	timeout   time.Duration
}

func (f *flags) register(s *pflag.FlagSet) {
	bootstrap := "localhost:9092"
	if v := os.Getenv(bootstrapVariable); v != "" {
		bootstrap = v
	}
	s.StringVar(&f.bootstrap, "bootstrap-server", bootstrap, "`host:port` of a broker; several with commas; $"+bootstrapVariable+" is the default")
	s.Var(&f.output, "output", "`format` of what is printed: text or json")
	s.BoolVar(&f.json, "json", false, "the same as --output json")
	s.DurationVar(&f.timeout, "timeout", 30*time.Second, "how long the broker may take to answer")
}

// format is the value of --output.
type format string

func (o *format) String() string { return string(*o) }
func (o *format) Type() string   { return "format" }

func (o *format) Set(v string) error {
	if v != "text" && v != "json" {
		return errors.New("neither text nor json")
	}
	*o = format(v)
	return nil
}

// seeds are the addresses of --bootstrap-server; a host without port has Kafka's.
func (f *flags) seeds() ([]string, error) {
	var seeds []string
	for s := range strings.SplitSeq(f.bootstrap, ",") {
		s = strings.TrimSpace(s)
		if s == "" {
			continue
		}
		if _, _, err := net.SplitHostPort(s); err != nil {
			s = net.JoinHostPort(strings.Trim(s, "[]"), "9092")
		}
		if _, _, err := net.SplitHostPort(s); err != nil {
			return nil, usagef("--bootstrap-server %s is not host:port", s)
		}
		seeds = append(seeds, s)
	}
	if len(seeds) == 0 {
		return nil, usagef("--bootstrap-server names no broker")
	}
	return seeds, nil
}

// connect makes a client and makes sure that a broker answers. The client is the
// caller's to close.
func (f *flags) connect(ctx context.Context, opts ...kgo.Opt) (*kgo.Client, error) {
	if f.timeout <= 0 {
		return nil, usagef("--timeout %v is not above zero", f.timeout)
	}
	seeds, err := f.seeds()
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(seeds...), kgo.ClientID("varve"), kgo.DialTimeout(min(f.timeout, 10*time.Second)),
		kgo.RequestTimeoutOverhead(min(max(f.timeout, 100*time.Millisecond), 10*time.Second)), kgo.RetryTimeout(f.timeout),
	}, opts...)...)
	if err != nil {
		return nil, err
	}
	pctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	if err := client.Ping(pctx); err != nil {
		client.Close()
		return nil, noBroker(ctx, strings.Join(seeds, ","), err)
	}
	return client, nil
}

// noBroker words the error of a connection that brought no answer.
func noBroker(ctx context.Context, at string, err error) error {
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return fmt.Errorf("no broker answers at %s: is `varve server` running? (%w)", at, err)
}

// admin runs do with an administrator's client and a deadline.
func (f *flags) admin(c *cobra.Command, do func(context.Context, *kadm.Client) error) error {
	client, err := f.connect(c.Context())
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(c.Context(), f.timeout)
	defer cancel()
	a := kadm.NewClient(client)
	a.SetTimeoutMillis(int32(min(f.timeout, time.Hour) / time.Millisecond))
	err = do(ctx, a)
	if err != nil && ctx.Err() != nil && c.Context().Err() == nil {
		return fmt.Errorf("the broker did not answer within %v: %w", f.timeout, err)
	}
	return err
}

// refusal words a broker's error: the protocol's code with the broker's own sentence,
// or the protocol's where the broker said nothing. It is nil for nil.
func refusal(err error, message string) error {
	var k *kerr.Error
	if err == nil || message == "" || !errors.As(err, &k) {
		return err
	}
	return &refused{k, message}
}

// refused is a broker's error with its own sentence.
type refused struct {
	code    *kerr.Error
	message string
}

func (r *refused) Error() string { return r.code.Message + ": " + r.message }
func (r *refused) Unwrap() error { return r.code }
