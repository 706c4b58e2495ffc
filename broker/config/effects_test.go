package config

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Every key of the table acts, or says why not: an enforced one reaches a typed field, and
// something beside this package's own table reads that field. What it does there is shown
// by the tests of whoever reads it.

// examples are values of the keys that have no obvious other value.
var examples = map[string]string{
	"broker.id": "3", "broker.rack": "r", "listeners": "PLAINTEXT://127.0.0.1:1234", "advertised.listeners": "PLAINTEXT://h:1234",
	"listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,MINE:PLAINTEXT", "host.name": "127.0.0.1", "advertised.host.name": "h",
	"varve.http.listener": "127.0.0.1:1", "log.dir": "/elsewhere", "log.dirs": "/elsewhere", "metadata.endpoints": "http://h:2379",
	"varve.etcd.ca.file": "/ca", "varve.etcd.cert.file": "/cert", "varve.etcd.key.file": "/key", "varve.etcd.user": "u", "varve.etcd.password": "p",
	"varve.metadata.dir": "/m", "varve.cache.dir": "/c", "max.connections.per.ip.overrides": "10.0.0.1:3",
	"group.consumer.assignors": "range", "group.consumer.migration.policy": "disabled",
	"varve.bucket": "s3://b", "varve.bucket.endpoint": "http://h:1", "varve.bucket.region": "r", "varve.bucket.access.key": "k",
	"varve.bucket.secret.key": "s", "varve.bucket.session.token": "t", "varve.bucket.path.style": "true", "varve.bucket.storage.class": "c", "varve.bucket.kms.key.id": "k",
	"varve.bucket.checksum": "when_required", "log.retention.minutes": "7", "log.retention.ms": "8", "log.roll.ms": "9", "log.roll.jitter.ms": "9", "log.flush.interval.ms": "9",
}

// beside is what a key is set with, to count.
var beside = map[string][]string{
	"varve.etcd.ca.file": {"metadata.endpoints=https://h:2379"}, "varve.etcd.cert.file": {"metadata.endpoints=https://h:2379", "varve.etcd.key.file=/key"},
	"varve.etcd.key.file": {"metadata.endpoints=https://h:2379", "varve.etcd.cert.file=/cert"},
	"varve.etcd.user":     {"metadata.endpoints=http://h:2379", "varve.etcd.password=p"}, "varve.etcd.password": {"metadata.endpoints=http://h:2379", "varve.etcd.user=u"},
	"varve.bucket.endpoint": {"varve.bucket=s3://b"}, "varve.bucket.region": {"varve.bucket=s3://b"},
	"varve.bucket.path.style": {"varve.bucket=s3://b"}, "varve.bucket.checksum": {"varve.bucket=s3://b"},
	"varve.bucket.access.key": {"varve.bucket=s3://b", "varve.bucket.secret.key=s"}, "varve.bucket.secret.key": {"varve.bucket=s3://b", "varve.bucket.access.key=k"},
	"varve.bucket.session.token": {"varve.bucket=s3://b", "varve.bucket.access.key=k", "varve.bucket.secret.key=s"},
	"advertised.port":            {"advertised.host.name=h"},
}

// elsewhere are keys that act without a field of their own.
var elsewhere = map[string]string{
	"inter.broker.listener.name":       "brokers do not reach each other; any listener may be named, which listeners checks",
	"listener.security.protocol.map":   "it says what the names in listeners mean, and listeners checks that it is PLAINTEXT",
	"remote.log.storage.system.enable": "false is refused: tiering cannot be turned off",
}

// others are values that a key may be set to beside its default.
func (k *Key) others() []string {
	if v, ok := examples[k.Name]; ok {
		return []string{v}
	}
	if k.oneOf != nil {
		return slices.DeleteFunc(slices.Clone(k.oneOf), func(v string) bool { return v == k.Default })
	}
	switch k.Type {
	case Boolean:
		return []string{strconv.FormatBool(k.Default != "true")}
	case Short, Int, Long:
		n, _ := strconv.ParseInt(k.Default, 10, 64)
		return []string{fmt.Sprint(n + 1), fmt.Sprint(n - 1), fmt.Sprint(n / 2), "5", "1000", "86400000"}
	case Double:
		return []string{"0.25", "1000"}
	}
	return nil
}

// fieldsThatDiffer are the fields of two structs that are not equal, by their names.
func fieldsThatDiffer(a, b reflect.Value) (names []string) {
	for i := range a.NumField() {
		name := a.Type().Field(i).Name
		switch x, y := a.Field(i), b.Field(i); {
		case name == "values":
		case x.Kind() == reflect.Struct:
			names = append(names, fieldsThatDiffer(x, y)...)
		case !reflect.DeepEqual(x.Interface(), y.Interface()):
			names = append(names, name)
		}
	}
	return names
}

// fieldsThatAreRead are the names that any code of ours selects, but for the table itself
// and the reading of it.
func fieldsThatAreRead(t *testing.T) map[string]bool {
	t.Helper()
	read := map[string]bool{}
	for _, dir := range []string{"broker", "cmd", "tiering", "retention", "segment"} {
		err := filepath.WalkDir(filepath.Join("..", "..", dir), func(path string, d fs.DirEntry, err error) error {
			name := filepath.ToSlash(path)
			switch {
			case err != nil:
				return err
			case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"),
				strings.HasSuffix(name, "config/table.go"), strings.HasSuffix(name, "config/load.go"):
				return nil
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok {
					read[s.Sel.Name] = true
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return read
}

func TestEveryKeyActsOrSaysWhyNot(t *testing.T) {
	read := fieldsThatAreRead(t)
	var acting, without, refused int
	for _, k := range Keys() {
		what := "broker key " + k.Name
		if k.Topic {
			what = "topic key " + k.Name
		}
		// set is the settings with a value, and what they are beside it.
		set := func(value string) (before, after any, notices []string, err error) {
			if k.Topic {
				d := defaults(t)
				one, err := TopicConfig("t", d, map[string]string{k.Name: value})
				return d, one, nil, err
			}
			plain, _, err := Load(Sources{Sets: beside[k.Name]})
			if err != nil { // the others need it, too
				if plain, _, err = Load(Sources{Sets: append(slices.Clone(beside[k.Name]), k.Name+"="+value+"x")}); err != nil {
					return nil, nil, nil, err
				}
			}
			b, notices, err := Load(Sources{Sets: append(slices.Clone(beside[k.Name]), k.Name+"="+value)})
			if err != nil {
				return nil, nil, nil, err
			}
			return *plain, *b, notices, nil
		}
		switch k.Enforcement {
		case DefaultOnly, Dormant:
			refused++
			for _, value := range append(k.others(), "something") {
				if _, _, _, err := set(value); err == nil && value != k.Default {
					t.Errorf("%s=%s is taken, and is not enforced", what, value)
				}
			}
		case NoEffect:
			without++
			if k.broker != nil || k.topic != nil {
				t.Errorf("%s is said to have no effect and goes somewhere", what)
			}
			for _, value := range append(k.others(), "something") {
				if _, _, notices, err := set(value); err == nil && !slices.ContainsFunc(notices, func(n string) bool { return strings.Contains(n, k.Name+" has no effect: "+k.Why) }) {
					t.Errorf("%s=%s: notices %q", what, value, notices)
				}
			}
		case Enforced:
			acting++
			if elsewhere[k.Name] != "" {
				continue
			}
			var fields []string
			var last error
			for _, value := range k.others() {
				before, after, _, err := set(value)
				if last = err; err == nil {
					fields = append(fields, fieldsThatDiffer(reflect.ValueOf(before), reflect.ValueOf(after))...)
				}
			}
			switch unread := slices.DeleteFunc(slices.Clone(fields), func(f string) bool { return read[f] }); {
			case len(fields) == 0:
				t.Errorf("%s is said to be enforced and changes nothing (%v)", what, last)
			case len(unread) == len(fields):
				t.Errorf("%s goes to %v, which nothing reads", what, fields)
			}
		}
		if k.Broker && k.Dynamic && !k.PerBroker && k.Enforcement == Enforced {
			altered := slices.ContainsFunc(k.others(), func(value string) bool {
				plain := started(t)
				b, err := plain.WithDynamic(map[string]string{k.Name: value}, nil)
				return err == nil && len(fieldsThatDiffer(reflect.ValueOf(*plain), reflect.ValueOf(*b))) > 0
			})
			if !altered {
				t.Errorf("%s may be altered, and nothing changes by it", what)
			}
		}
	}
	if acting < 150 || without < 30 || refused < 5 {
		t.Errorf("%d keys act, %d do not, %d are refused", acting, without, refused)
	}
	for _, name := range kafkaOnly {
		if _, _, err := Load(Sources{Sets: []string{name + "=1"}}); err == nil {
			t.Errorf("%s is taken, and is unknown", name)
		}
	}
}

// What other systems, and later versions of Apache Kafka, know beside this table is
// refused, and never kept for nothing.
func TestWhatOthersKnowIsRefused(t *testing.T) {
	for _, name := range []string{
		"remote.copy.lag.ms", "remote.copy.lag.bytes", "message.downconversion.enable", "message.format.version", "diskless.enable",
		"initial.retention.local.target.ms", "redpanda.remote.recovery", "redpanda.iceberg.mode", "automq.table.topic.enable", "retention.local.target.ms",
		"confluent.tier.enable", "confluent.tier.local.hotset.ms", "write.caching", "flush.bytes",
	} {
		if _, err := TopicConfig("t", defaults(t), map[string]string{name: "1"}); err == nil {
			t.Errorf("topics take %s", name)
		}
	}
	for _, name := range []string{
		"log.remote.copy.lag.ms", "log.remote.copy.lag.bytes", "log.message.format.version", "inter.broker.protocol.version",
		"remote.log.metadata.topic.num.partitions", "remote.log.metadata.topic.min.isr", "log.message.timestamp.difference.max.ms",
		"rlmm.config.remote.log.metadata.topic.replication.factor", "rsm.config.chunk.size", "s3.data.buckets", "cloud_storage_enabled",
	} {
		if _, _, err := Load(Sources{Sets: []string{name + "=1"}}); err == nil {
			t.Errorf("brokers take %s", name)
		}
		if _, err := started(t).WithDynamic(map[string]string{name: "1"}, nil); err == nil {
			t.Errorf("running brokers take %s", name)
		}
	}
}
