package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/varvelog/varve/test/harness"
)

// kafka is a broker of Apache Kafka: one KRaft node with Kafka's own defaults but for
// replication factors, and the heap and collector that its start script chooses.
type kafka struct {
	env        *env
	dir        string
	address    string
	controller string
	process    *harness.Process
}

// The JVM's options: those of bin/kafka-server-start.sh and bin/kafka-run-class.sh.
var kafkaJVM = []string{
	"-Xms1g", "-Xmx1g", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
	"-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true",
}

// newKafka writes a configuration and formats its storage.
func newKafka(e *env, sets ...string) *kafka {
	k := &kafka{env: e, dir: e.TempDir(), address: harness.FreeAddress(e), controller: harness.FreeAddress(e)}
	lines := append([]string{
		"process.roles=broker,controller",
		"node.id=1",
		"controller.quorum.bootstrap.servers=" + k.controller,
		"listeners=PLAINTEXT://" + k.address + ",CONTROLLER://" + k.controller,
		"advertised.listeners=PLAINTEXT://" + k.address,
		"controller.listener.names=CONTROLLER",
		"listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
		"log.dirs=" + filepath.Join(k.dir, "logs"),
		"offsets.topic.replication.factor=1",
		"transaction.state.log.replication.factor=1",
		"transaction.state.log.min.isr=1",
		"share.coordinator.state.topic.replication.factor=1",
		"share.coordinator.state.topic.min.isr=1",
		"group.initial.rebalance.delay.ms=0",
		"log.segment.delete.delay.ms=1000",
	}, sets...)
	e.check(os.WriteFile(k.properties(), []byte(strings.Join(lines, "\n")+"\n"), 0o644))
	out, err := k.java("-Xmx256m", "kafka.tools.StorageTool", "format", "--standalone", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c", k.properties()).CombinedOutput()
	if err != nil {
		e.Fatalf("format Kafka's storage: %v\n%s", err, out)
	}
	return k
}

func (k *kafka) properties() string { return filepath.Join(k.dir, "server.properties") }

func (k *kafka) java(args ...string) *exec.Cmd { return java(k.env, args...) }

// java runs a class of Apache Kafka's jars.
func java(e *env, args ...string) *exec.Cmd {
	jars := harness.Need(e, filepath.Join(harness.Tools(e), "kafka"))
	return exec.CommandContext(e.ctx, harness.NeedCommand(e, "java"), append([]string{harness.KafkaLogging(e), "-cp", filepath.Join(jars, "*")}, args...)...)
}

func (k *kafka) Name() string              { return "Kafka" }
func (k *kafka) Address() string           { return k.address }
func (k *kafka) Process() *harness.Process { return k.process }

func (k *kafka) Start() time.Duration {
	begin := time.Now()
	k.launch()
	ctx, cancel := context.WithTimeout(k.env.ctx, startLimit)
	defer cancel()
	if err := awaitAnswer(ctx, k.address); err != nil {
		k.env.Fatalf("%v\n%s", err, k.process.Output())
	}
	return time.Since(begin)
}

func (k *kafka) launch() {
	k.process = harness.StartProcess(k.env, "Kafka", k.java(append(kafkaJVM, "kafka.Kafka", k.properties())...))
}

// startLimit is how long a start may take.
const startLimit = 2 * time.Minute

// Stop ends the process as its stop script does. A JVM that was asked to end exits with
// 143, which is no failure.
func (k *kafka) Stop() {
	if err := k.process.Stop(stopLimit); k.process.Running() {
		k.env.Fatal(err)
	}
}

// EmptyCaches does nothing: Kafka keeps no remote data but indexes, and its code stays
// compiled, which is to its advantage.
func (k *kafka) EmptyCaches() {}

// tieredKafka are the settings of Kafka's own tiered storage over a directory.
func tieredKafka(dir string) []string {
	return []string{
		"remote.log.storage.system.enable=true",
		"remote.log.storage.manager.class.name=org.apache.kafka.server.log.remote.storage.LocalTieredStorage",
		"remote.log.metadata.manager.listener.name=PLAINTEXT",
		"rsm.config.dir=" + dir,
		"rsm.config.delete.on.close=false",
		"rlmm.config.remote.log.metadata.topic.replication.factor=1",
		"remote.log.manager.task.interval.ms=1000",
		"log.retention.check.interval.ms=1000",
	}
}
