package config

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

// ours are the defaults that differ from Kafka's, each for a reason in its sentence.
var ours = map[string]string{
	"flush.messages": "flushed before acknowledged", "log.flush.interval.messages": "flushed before acknowledged",
	"socket.receive.buffer.bytes":      "tuned by the system",
	"remote.log.storage.system.enable": "tiering is what Varve is for", "remote.log.reader.threads": "chunks are read in parallel",
	"node.id": "the quickstart's first broker", "process.roles": "both",
}

func TestEveryDefaultPassesItsOwnRules(t *testing.T) {
	for _, k := range Keys() {
		if k.NoDefault {
			continue
		}
		if k.Type == List && k.Default == "" {
			continue
		}
		canonical, reason := k.parse(k.Default)
		if reason != "" || canonical != k.Default {
			t.Errorf("%s: default %q becomes %q: %s", k.Name, k.Default, canonical, reason)
		}
	}
}

func TestEveryKeyIsWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range Keys() {
		scope := fmt.Sprint(k.Topic, k.Name)
		if seen[scope] {
			t.Errorf("%s stands twice", k.Name)
		}
		seen[scope] = true
		if k.Type == 0 || k.Topic == k.Broker || !strings.HasSuffix(k.Doc, ".") {
			t.Errorf("%s: type %v, topic %v, broker %v, doc %q", k.Name, k.Type, k.Topic, k.Broker, k.Doc)
		}
		if (k.Enforcement != Enforced) != (k.Why != "") {
			t.Errorf("%s: enforcement %d, why %q", k.Name, k.Enforcement, k.Why)
		}
		if k.Topic && k.Enforcement == Enforced && k.topic == nil && k.Name != "cleanup.policy" && k.Name != "message.timestamp.type" {
			t.Errorf("%s is said to be enforced and goes nowhere", k.Name)
		}
	}
	variables := map[string]string{}
	for _, k := range table().broker {
		name := EnvironmentName(k.Name)
		if other := variables[name]; other != "" {
			t.Errorf("%s and %s have the variable %s", other, k.Name, name)
		}
		variables[name] = k.Name
	}
}

// Names, types, defaults and ranges are Apache Kafka's.
func TestTableIsKafkas(t *testing.T) {
	for _, scope := range []struct {
		file string
		keys map[string]*Key
		all  bool // every one of Kafka's must be here
	}{
		{"testdata/kafka-4.3.0-topic.txt", table().topicByName, true},
		{"testdata/kafka-4.3.0-broker.txt", table().brokerByName, false},
	} {
		f, err := os.Open(scope.file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		compared := 0
		for lines := bufio.NewScanner(f); lines.Scan(); {
			p := strings.SplitN(lines.Text(), "|", 4)
			if len(p) < 4 || strings.HasPrefix(p[0], "#") {
				continue
			}
			name, kind, value, limits := p[0], p[1], p[2], p[3]
			k := scope.keys[name]
			if k == nil {
				if scope.all || !contains(kafkaOnly, name) {
					t.Errorf("%s is unknown", name)
				}
				continue
			}
			compared++
			if got := strings.ToUpper(k.Type.String()); got != kind {
				t.Errorf("%s: type %s, Kafka's is %s", name, got, kind)
			}
			switch {
			case ours[name] != "" || value == "<none>":
			case value == "null" && !k.NoDefault, value != "null" && k.NoDefault, value != "null" && k.Default != value:
				if name != "broker.rack" && name != "listener.security.protocol.map" { // a map has no order
					t.Errorf("%s: default %q (none %v), Kafka's is %q", name, k.Default, k.NoDefault, value)
				}
			}
			var low, high float64
			if n, _ := fmt.Sscanf(limits, "[%g,...,%g]", &low, &high); n >= 1 && k.min != low && ours[name] == "" && !stricter[name] && !strings.Contains(limits, "or -1") {
				t.Errorf("%s: at least %g, Kafka's is %g", name, k.min, low)
			} else if n == 2 && k.max != high {
				t.Errorf("%s: at most %g, Kafka's is %g", name, k.max, high)
			}
		}
		if compared < 30 {
			t.Errorf("%s: compared %d keys", scope.file, compared)
		}
	}
	for _, name := range kafkaOnly {
		if table().brokerByName[name] != nil {
			t.Errorf("%s is in the table and in kafkaOnly", name)
		}
	}
}

// stricter have a minimum above Kafka's.
var stricter = map[string]bool{
	"transaction.state.log.segment.bytes":     true,
	"offsets.topic.segment.bytes":             true,                                                                       // segment.bytes has it since 4.0
	"log.flush.offset.checkpoint.interval.ms": true,                                                                       // a loop without a pause
	"max.connections":                         true, "max.connections.per.ip": true, "max.connection.creation.rate": true, // a broker that nobody reaches

	"share.coordinator.state.topic.segment.bytes": true,
}

var update = flag.Bool("update", false, "write docs/configuration.md anew")

func TestDocumentationIsUpToDate(t *testing.T) {
	const path = "../../docs/configuration.md"
	var want bytes.Buffer
	if err := WriteMarkdown(&want); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%s is out of date: go test ./broker/config -run Documentation -update", path)
	}
}
