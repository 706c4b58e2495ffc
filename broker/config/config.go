// Package config is the one table of settings: Kafka's names, types, defaults,
// ranges, scopes and sentences. server.properties, VARVE_* variables, --set flags and
// topic configs are read through it, DescribeConfigs answers from it,
// docs/configuration.md is printed from it, and a key that is not in it is refused with
// the nearest one that is.
//
// It is not where settings act, and it starts, opens and remembers nothing: every
// function is from values to values.
//
// What always holds: a setting that Varve does not enforce is refused, never silently
// kept, but for two kinds. The few that stand in Kafka's own example files and have
// nothing to set here are accepted and named in a notice. Settings of logins and TLS may
// be altered on a running broker, as on an Apache Kafka that has neither and acts on them
// no more than this; in a file they are refused. All faults are reported at once.
package config

import (
	"errors"
	"fmt"
	"strings"
)

// ErrInvalid is what every refusal of this package wraps: INVALID_CONFIG in the protocol.
var ErrInvalid = errors.New("invalid configuration")

// Fault is one refused setting.
type Fault struct {
	Key, Value string
	Reason     string // a sentence, without the key where Kafka's sentence has it
}

// Error is all faults of a configuration.
type Error struct{ Faults []Fault }

func (e *Error) Error() string {
	lines := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		lines[i] = f.Reason
	}
	return strings.Join(lines, "\n")
}

// Unwrap makes every Error an ErrInvalid.
func (e *Error) Unwrap() error { return ErrInvalid }

// faults collects the faults of one reading.
type faults []Fault

func (f *faults) add(key, value, format string, args ...any) {
	*f = append(*f, Fault{Key: key, Value: value, Reason: fmt.Sprintf(format, args...)})
}

// invalid words a fault as Kafka's ConfigException does.
func (f *faults) invalid(key, value, reason string) {
	f.add(key, value, "Invalid value %s for configuration %s: %s", value, key, reason)
}

func (f faults) err() error {
	if len(f) == 0 {
		return nil
	}
	return &Error{Faults: f}
}
