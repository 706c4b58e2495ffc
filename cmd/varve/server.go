package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/varvelog/varve/broker"
	"github.com/varvelog/varve/broker/config"
)

func serverCommand() *cobra.Command {
	var sets []string
	c := &cobra.Command{
		Use:   "server [server.properties]",
		Short: "Run a broker",
		Long: `Run a broker. Without arguments it needs nothing else: data, metadata and the
bucket lie in log.dirs, and clients reach it on port 9092.

Settings have Kafka's names. They come from --set, from the environment
(log.retention.hours is VARVE_LOG_RETENTION_HOURS), from the file, in this order.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return serve(c.Context(), c.OutOrStdout(), c.ErrOrStderr(), args, sets)
		},
	}
	c.Flags().StringArrayVar(&sets, "set", nil, "a setting, as `key=value`; may be repeated")
	return c
}

// serve runs a broker until ctx ends.
func serve(ctx context.Context, out, errs io.Writer, files, sets []string) (err error) {
	cfg, notices, err := loadConfig(files, sets)
	if err != nil {
		return usageError{err}
	}
	level := zap.NewAtomicLevelAt(zap.InfoLevel)
	log := newLogger(errs, level)
	defer log.Sync() //nolint:errcheck // a terminal cannot be synced
	for _, n := range notices {
		log.Info(n)
	}
	b, err := broker.Open(ctx, broker.Options{Config: cfg, Log: log, Level: level, Version: version})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	err = b.Run(ctx, func() { fmt.Fprintln(out, readyLine(cfg, b)) })
	if err == nil || ctx.Err() != nil {
		log.Info("stopping")
		return nil
	}
	return err
}

// readyLine is printed when the listeners accept. Scripts wait for its first words.
func readyLine(cfg *config.Broker, b *broker.Broker) string {
	var at []string
	for _, l := range cfg.Listeners {
		at = append(at, l.Name+"://"+b.Address(l.Name))
	}
	return fmt.Sprintf("varve is ready: %s, node %d of cluster %s, bucket %s", strings.Join(at, ", "), cfg.NodeID, b.ClusterID(), b.BucketName())
}

func loadConfig(files, sets []string) (*config.Broker, []string, error) {
	o := config.Sources{Env: serverEnv(), Sets: sets}
	if len(files) > 0 {
		f, err := os.Open(files[0])
		if err != nil {
			return nil, nil, err
		}
		defer f.Close()
		o.File = f
	}
	return config.Load(o)
}

// notSettings are variables of ours that say nothing to a broker: that of the other
// commands, and the Makefile's.
var notSettings = []string{bootstrapVariable, "VARVE_TOOLS"}

// serverEnv is the environment but for notSettings.
func serverEnv() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(notSettings, name)
	})
}

// newLogger logs to standard error, from level on: text for people; info only for
// changes of state.
func newLogger(w io.Writer, level zap.AtomicLevel) *zap.Logger {
	enc := zap.NewProductionEncoderConfig()
	enc.EncodeTime = zapcore.ISO8601TimeEncoder
	return zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(enc), zapcore.Lock(zapcore.AddSync(w)), level))
}
