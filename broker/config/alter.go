package config

import (
	"maps"
	"slices"
	"strings"
)

// OpType is what IncrementalAlterConfigs does to a key, numbered as in the protocol.
type OpType int8

// Operations of KIP-339.
const (
	Set OpType = iota
	Delete
	Append   // to a list
	Subtract // from a list
)

// Op is one operation. Value nil is null, which only Delete may have.
type Op struct {
	Type  OpType
	Name  string
	Value *string
}

// AlterTopic returns overrides with ops applied in order; overrides stays as it is. The
// values are not checked against ranges: TopicConfig does that with the result.
func (b *Broker) AlterTopic(overrides map[string]string, ops []Op) (map[string]string, error) {
	next, err := alter(among(table().topicByName), true, overrides, ops)
	if err != nil || slices.ContainsFunc(ops, func(o Op) bool { return o.Name == "remote.storage.enable" }) {
		return next, err
	}
	return b.WithoutDefaultTiering(next), nil
}

// AlterBroker is AlterTopic for the dynamic settings of brokers; WithDynamic checks the
// result.
func AlterBroker(current map[string]string, ops []Op) (map[string]string, error) {
	return alter(brokerKey, false, current, ops)
}

// KnownToBrokers refuses names that no setting of brokers has.
func KnownToBrokers(configs map[string]string) error {
	var f faults
	for _, name := range sortedKeys(configs) {
		if brokerKey(name) == nil {
			f.add(name, "", "%s", unknown(name, false))
		}
	}
	return f.err()
}

// among looks a key up by its name, nil if there is none.
func among(keys map[string]*Key) func(name string) *Key {
	return func(name string) *Key { return keys[name] }
}

func alter(known func(name string) *Key, topic bool, current map[string]string, ops []Op) (map[string]string, error) {
	var f faults
	result := maps.Clone(current)
	if result == nil {
		result = map[string]string{}
	}
	seen := map[string]bool{}
	for _, op := range ops {
		if seen[op.Name] {
			f.add(op.Name, "", "Error due to duplicate config keys: %s", op.Name)
			continue
		}
		seen[op.Name] = true
		k := known(op.Name)
		switch {
		case op.Type == Delete: // also of what a later version knew
			delete(result, op.Name)
		case k == nil:
			f.add(op.Name, "", "%s", unknown(op.Name, topic))
		case op.Value == nil:
			f.add(op.Name, "", "Null value not supported for : %s", op.Name)
		case op.Type == Set:
			result[op.Name] = *op.Value
		case op.Type != Append && op.Type != Subtract:
			f.add(op.Name, *op.Value, "Unknown operation %d for config key: %s", op.Type, op.Name)
		case k.Type != List && op.Type == Append:
			f.add(op.Name, *op.Value, "Config value append is not allowed for config key: %s", op.Name)
		case k.Type != List:
			f.add(op.Name, *op.Value, "Config value subtract is not allowed for config key: %s", op.Name)
		default:
			old, set := result[op.Name]
			if !set {
				old = k.Default
			}
			result[op.Name] = alterList(splitList(old), op.Type, splitList(*op.Value))
		}
	}
	if err := f.err(); err != nil {
		return nil, err
	}
	return result, nil
}

// alterList appends what is not there yet, or takes out what is.
func alterList(list []string, op OpType, values []string) string {
	for _, value := range values {
		at := slices.Index(list, value)
		switch {
		case op == Append && at < 0:
			list = append(list, value)
		case op == Subtract && at >= 0:
			list = slices.Delete(list, at, at+1)
		}
	}
	return strings.Join(list, ",")
}
