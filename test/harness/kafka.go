package harness

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ApacheKafka is a broker of Apache Kafka 4.3 in one KRaft process, to compare with.
type ApacheKafka struct {
	*Process
	Dir     string // log directory
	Address string // host:port that clients dial
}

// apacheCluster is the cluster id of every ApacheKafka; they do not know each other.
const apacheCluster = "varvevarvevarvevarve_w"

// StartKafka formats a log directory and starts Apache Kafka on it, with further lines
// of server.properties. It returns when the broker accepts connections.
func StartKafka(t testing.TB, properties ...string) *ApacheKafka {
	t.Helper()
	dir := t.TempDir()
	k := &ApacheKafka{Dir: filepath.Join(dir, "logs"), Address: FreeAddress(t)}
	file := filepath.Join(dir, "server.properties")
	lines := append(kraftProperties(k, FreeAddress(t)), properties...)
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	Kafka(t, "", "kafka.tools.StorageTool", "format", "-t", apacheCluster, "-c", file)
	k.Process = StartProcess(t, "Apache Kafka", exec.Command(NeedCommand(t, "java"), kafkaArgs(t, "kafka.Kafka", file)...))
	awaitListener(t, k.Process, k.Address)
	return k
}

// kraftProperties is a server.properties of one node with both roles: internal topics
// have one replica, and groups do not wait for more members.
func kraftProperties(k *ApacheKafka, controller string) []string {
	return []string{
		"process.roles=broker,controller",
		"node.id=0",
		"controller.quorum.voters=0@" + controller,
		"listeners=PLAINTEXT://" + k.Address + ",CONTROLLER://" + controller,
		"controller.listener.names=CONTROLLER",
		"log.dirs=" + k.Dir,
		"offsets.topic.replication.factor=1",
		"transaction.state.log.replication.factor=1",
		"transaction.state.log.min.isr=1",
		"share.coordinator.state.topic.replication.factor=1",
		"share.coordinator.state.topic.min.isr=1",
		"group.initial.rebalance.delay.ms=0",
	}
}

// awaitListener waits until a process accepts connections on an address.
func awaitListener(t testing.TB, p *Process, address string) {
	t.Helper()
	deadline := time.Now().Add(readyLimit)
	for wait := time.NewTicker(50 * time.Millisecond); ; <-wait.C {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			c.Close()
			return
		}
		if !p.Running() || time.Now().After(deadline) {
			t.Fatal(fmt.Errorf("nothing accepts on %s: %w\n%s", address, err, tail(p.Output())))
		}
	}
}
