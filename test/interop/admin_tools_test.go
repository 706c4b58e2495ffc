//go:build interop

package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/test/harness"
)

// adminTool is one run of a command-line tool of Apache Kafka.
type adminTool struct {
	class string
	args  string // with spaces between; FILE is the directory of toolFiles
	// differs says why the tool prints something else of Apache Kafka, where it does; of
	// ours it then prints want.
	differs, want string
}

const toolsTopic = "admin-tools"

// toolFiles are what the tools read; LOGS is the broker's log directory.
var toolFiles = map[string]string{
	"topics.json":    `{"topics":[{"topic":"admin-tools"}],"version":1}`,
	"stay.json":      `{"version":1,"partitions":[{"topic":"admin-tools","partition":0,"replicas":[0]}]}`,
	"elsewhere.json": `{"version":1,"partitions":[{"topic":"admin-tools","partition":0,"replicas":[1]}]}`,
	"here.json":      `{"version":1,"partitions":[{"topic":"admin-tools","partition":1,"replicas":[0],"log_dirs":["LOGS"]}]}`,
	"nowhere.json":   `{"version":1,"partitions":[{"topic":"admin-tools","partition":1,"replicas":[0],"log_dirs":["/nowhere"]}]}`,
	"empty.conf":     "",
	"sasl.conf": "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\n" +
		`sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username="u" password="p";`,
}

const (
	aclCommand         = "org.apache.kafka.tools.AclCommand"
	electionCommand    = "org.apache.kafka.tools.LeaderElectionCommand"
	reassignCommand    = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"
	featureCommand     = "org.apache.kafka.tools.FeatureCommand"
	tokenCommand       = "org.apache.kafka.tools.DelegationTokenCommand"
	logDirsCommand     = "org.apache.kafka.tools.LogDirsCommand"
	quorumCommand      = "org.apache.kafka.tools.MetadataQuorumCommand"
	metricsCommand     = "org.apache.kafka.tools.ClientMetricsCommand"
	groupsCommand      = "org.apache.kafka.tools.GroupsCommand"
	streamsCommand     = "org.apache.kafka.tools.streams.StreamsGroupCommand"
	shareCommand       = "org.apache.kafka.tools.consumer.group.ShareGroupCommand"
	clusterCommand     = "org.apache.kafka.tools.ClusterTool"
	otherRangeSentence = "varve has no controller apart from its brokers"
)

// adminTools in the order in which they are run.
var adminTools = []adminTool{
	{class: aclCommand, args: "--list"},
	{class: aclCommand, args: "--add --allow-principal User:alice --operation Read --topic admin-tools --force"},
	{class: aclCommand, args: "--remove --allow-principal User:alice --operation Read --topic admin-tools --force"},

	{class: harness.ConfigCommand, args: "--describe --entity-type users"},
	{class: harness.ConfigCommand, args: "--describe --entity-type users --entity-name alice"},
	{class: harness.ConfigCommand, args: "--describe --entity-type users --entity-default"},
	{class: harness.ConfigCommand, args: "--describe --entity-type clients --entity-name c"},
	{class: harness.ConfigCommand, args: "--describe --entity-type ips"},
	{class: harness.ConfigCommand, args: "--alter --add-config SCRAM-SHA-256=[password=secret] --entity-type users --entity-name alice"},
	{class: harness.ConfigCommand, args: "--describe --entity-type users --entity-name alice"},
	{class: harness.ConfigCommand, args: "--describe --entity-type users"},
	{class: harness.ConfigCommand, args: "--alter --add-config SCRAM-SHA-512=[iterations=8192,password=secret] --entity-type users --entity-name alice"},
	{class: harness.ConfigCommand, args: "--alter --delete-config SCRAM-SHA-512 --entity-type users --entity-name alice"},
	{class: harness.ConfigCommand, args: "--alter --add-config SCRAM-SHA-256=[iterations=1,password=secret] --entity-type users --entity-name alice"},
	{class: harness.ConfigCommand, args: "--describe --entity-type users --entity-name alice"},
	{class: harness.ConfigCommand, args: "--alter --delete-config SCRAM-SHA-512 --entity-type users --entity-name bob"},
	{class: harness.ConfigCommand, args: "--alter --add-config request_percentage=12.5 --entity-type users --entity-name alice"},
	{class: harness.ConfigCommand, args: "--alter --add-config controller_mutation_rate=0.5 --entity-type users --entity-name alice --entity-type clients --entity-default"},
	{class: harness.ConfigCommand, args: "--describe --entity-type users --entity-name alice"},
	{class: harness.ConfigCommand, args: "--describe --entity-type users --entity-name alice --entity-type clients"},
	{class: harness.ConfigCommand, args: "--describe --entity-type users --entity-default"},
	{class: harness.ConfigCommand, args: "--alter --add-config producer_byte_rate=3000 --entity-type clients --entity-name c"},
	{class: harness.ConfigCommand, args: "--describe --entity-type clients --entity-name c"},
	{class: harness.ConfigCommand, args: "--describe --entity-type clients"},
	{class: harness.ConfigCommand, args: "--alter --delete-config producer_byte_rate --entity-type clients --entity-name c"},
	{class: harness.ConfigCommand, args: "--describe --entity-type clients"},
	{class: harness.ConfigCommand, args: "--alter --add-config consumer_byte_rate=0 --entity-type clients --entity-name c"},
	{class: harness.ConfigCommand, args: "--alter --add-config connection_creation_rate=1000 --entity-type ips --entity-name 127.0.0.1"},
	{class: harness.ConfigCommand, args: "--describe --entity-type ips"},
	{class: harness.ConfigCommand, args: "--describe --entity-type ips --entity-default"},
	{class: harness.ConfigCommand, args: "--alter --delete-config producer_byte_rate --entity-type users --entity-name bob"},

	{class: harness.ConfigCommand, args: "--describe --entity-type client-metrics"},
	{class: harness.ConfigCommand, args: "--describe --entity-type client-metrics --entity-name m"},
	{class: metricsCommand, args: "--list"},
	{class: metricsCommand, args: "--describe"},
	{class: metricsCommand, args: "--describe --name m"},
	{class: metricsCommand, args: "--delete --name m"},
	{class: metricsCommand, args: "--alter --name m --interval 1000"},
	{class: metricsCommand, args: "--list"},
	{class: metricsCommand, args: "--describe --name m"},
	{class: harness.ConfigCommand, args: "--describe --entity-type client-metrics --entity-name m"},
	{class: metricsCommand, args: "--alter --name m --interval 1"},
	{class: metricsCommand, args: "--alter --name m --match nobody=a"},
	{class: metricsCommand, args: "--delete --name m"},
	{class: metricsCommand, args: "--list"},

	{class: harness.ConfigCommand, args: "--describe --entity-type groups --entity-name admin-tools"},
	{class: harness.ConfigCommand, args: "--alter --add-config consumer.session.timeout.ms=50000 --entity-type groups --entity-name admin-tools"},
	{class: harness.ConfigCommand, args: "--describe --entity-type groups --entity-name admin-tools"},
	{class: harness.ConfigCommand, args: "--alter --delete-config consumer.session.timeout.ms --entity-type groups --entity-name admin-tools"},

	{class: harness.ConfigCommand, args: "--alter --add-config root=WARN --entity-type broker-loggers --entity-name 0"},
	{class: harness.ConfigCommand, args: "--describe --entity-type broker-loggers --entity-name 0"},
	{class: harness.ConfigCommand, args: "--alter --add-config no.such=WARN --entity-type broker-loggers --entity-name 0"},

	{class: electionCommand, args: "--election-type preferred --all-topic-partitions"},
	{class: electionCommand, args: "--election-type preferred --topic admin-tools --partition 0"},
	{class: electionCommand, args: "--election-type unclean --topic admin-tools --partition 0"},
	{class: electionCommand, args: "--election-type unclean --topic admin-tools --partition 9"},

	{class: reassignCommand, args: "--list"},
	{class: reassignCommand, args: "--generate --topics-to-move-json-file FILE/topics.json --broker-list 0"},
	{class: reassignCommand, args: "--execute --reassignment-json-file FILE/stay.json"},
	{class: reassignCommand, args: "--verify --reassignment-json-file FILE/stay.json"},
	{class: reassignCommand, args: "--cancel --reassignment-json-file FILE/stay.json"},
	{class: reassignCommand, args: "--execute --reassignment-json-file FILE/elsewhere.json"},
	{class: reassignCommand, args: "--execute --reassignment-json-file FILE/here.json"},
	{class: reassignCommand, args: "--verify --reassignment-json-file FILE/here.json"},
	{class: reassignCommand, args: "--execute --reassignment-json-file FILE/nowhere.json --timeout 1000"},

	{class: featureCommand, args: "describe"},
	{class: featureCommand, args: "upgrade --feature group.version=1"},
	{class: featureCommand, args: "downgrade --feature group.version=0 --dry-run"},
	{class: featureCommand, args: "downgrade --feature transaction.version=1"},
	{class: featureCommand, args: "upgrade --feature transaction.version=2"},
	{class: featureCommand, args: "upgrade --feature transaction.version=9", differs: otherRangeSentence, want: "This version of varve serves levels 0 to 2."},
	{class: featureCommand, args: "upgrade --feature no.such=1", differs: otherRangeSentence, want: "This version of varve does not have the feature."},

	{class: tokenCommand, args: "--describe --command-config FILE/empty.conf"},
	{class: tokenCommand, args: "--create --max-life-time-period -1 --renewer-principal User:u --command-config FILE/empty.conf"},
	{class: tokenCommand, args: "--renew --renew-time-period -1 --hmac AAAA --command-config FILE/empty.conf"},
	{class: tokenCommand, args: "--expire --expiry-time-period -1 --hmac AAAA --command-config FILE/empty.conf"},

	{class: tokenCommand, args: "--describe --command-config FILE/sasl.conf"},

	{class: logDirsCommand, args: "--describe --topic-list admin-tools"},
	{class: quorumCommand, args: "describe --status"},
	{class: quorumCommand, args: "describe --replication"},
	{class: clusterCommand, args: "cluster-id"},
	{class: clusterCommand, args: "list-endpoints"},
	{class: clusterCommand, args: "unregister --id 7"},
	{class: groupsCommand, args: "--list --protocol admin-tools"},
	{class: shareCommand, args: "--list"},
}

// TestAdminToolsPrintWhatTheyPrintOfApacheKafka runs the tools of administrators against
// both brokers and compares what they print, but for names, times and counts that must
// differ.
func TestAdminToolsPrintWhatTheyPrintOfApacheKafka(t *testing.T) {
	varve, kafka := broker(t), apache(t)
	t.Cleanup(func() {
		forget(t, kafka.Address)
		forget(t, varve.Address)
		q := alterRequest("0", kmsg.IncrementalAlterConfigOpSet, "root", "INFO") // what varve logs is shown with failures
		q.Resources[0].ResourceType = kmsg.ConfigResourceTypeBrokerLogger
		refusedWith(t, "set the level of the log", ask[*kmsg.IncrementalAlterConfigsResponse](t, dial(t, varve.Address), 1, q).Resources[0].ErrorCode, nil)
	})
	ours := runTools(t, varve.Address, varve.Dir)
	theirs := runTools(t, kafka.Address, kafka.Dir)
	for i, c := range adminTools {
		name := c.class[strings.LastIndex(c.class, ".")+1:] + " " + c.args
		switch {
		case c.differs == "":
			equal(t, name, ours[i], theirs[i])
		case !strings.Contains(ours[i], c.want):
			t.Errorf("%s: no %q in\n%s", name, c.want, ours[i])
		case strings.Contains(theirs[i], c.want):
			t.Errorf("%s: of Apache Kafka it prints %q as well: this is no difference any more", name, c.want)
		}
	}
}

// runTools runs all of adminTools, in one virtual machine, and returns what each printed.
func runTools(t *testing.T, address, logs string) []string {
	t.Helper()
	createOn(t, address, toolsTopic, 2)
	harness.Until(t, testLimit, "leaders on "+address, func() error { return led(t, address, toolsTopic) })
	dir := t.TempDir()
	for name, text := range toolFiles {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(text, "LOGS", logs)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var input strings.Builder
	for _, c := range adminTools {
		words := strings.Fields(strings.ReplaceAll(c.args, "FILE", dir))
		words = slices.Concat([]string{c.class, "--bootstrap-server", address}, words)
		if c.class == clusterCommand { // its subcommand comes first
			words = slices.Concat([]string{c.class, words[3], "--bootstrap-server", address}, words[4:])
		}
		fmt.Fprintln(&input, strings.Join(words, "\t"))
	}
	out := harness.Kafka(t, input.String(), "testdata/Tools.java")
	out = strings.NewReplacer(logs, "LOGS", address, "ADDRESS", dir, "FILE").Replace(out)
	var all []string
	for range adminTools {
		printed, rest, _ := strings.Cut(out, "=== exit ")
		status, rest, found := strings.Cut(rest, "\n")
		if !found {
			t.Fatalf("%d of %d tools ran:\n%s", len(all), len(adminTools), out)
		}
		all = append(all, masked(printed)+"exit "+status)
		out = rest
	}
	return all
}

// masks are what has to differ between two brokers, or two runs.
var masks = []struct{ what, by string }{
	{`(?m)^(\tat |\t\.\.\. |.* (ERROR|WARN|INFO) ).*\n`, ""}, // stack traces, and what is logged besides
	{`Cluster(Id| ID): +\S+`, "CLUSTER"},
	{`Epoch: +\d+`, "Epoch: EPOCH"},
	{`HighWatermark: +\d+`, "HighWatermark: OFFSET"},
	{`"endpoints": \[[^]]*\]`, "ENDPOINTS"},
	{`(?m)^0 +\tA{22}\t\d+ +\t0 +\t\d+ +\t\d+ +\tLeader.*$`, "the leader"},
	{`127\.0\.0\.1 +\d+`, "ADDRESS"},
	// KRaft's own:
	{`(?m)^Feature: (kraft|metadata|eligible\.leader\.replicas)\.version.*\n`, ""},
	{`(?m)^ +[^r\s]\S*=[A-Z]+ sensitive=false synonyms=\{\}\n`, ""}, // levels of loggers: there is only root
	{`[ \t]+`, " "},
}

func masked(out string) string {
	for _, m := range masks {
		out = regexp.MustCompile(m.what).ReplaceAllString(out, m.by)
	}
	return out
}

// TestFeatureLevelsAreHonoured: with group.version 0 the consumer protocol is refused and
// not offered; levels come back as they were set, also to clients that cannot read ranges
// which begin at 0 (KAFKA-17492), and survive a restart.
func TestFeatureLevelsAreHonoured(t *testing.T) {
	b := harness.StartBroker(t)
	features := func(version int16) (supported, finalized string) {
		p := ask[*kmsg.ApiVersionsResponse](t, dial(t, b.Address), version, apiVersions())
		for _, f := range p.SupportedFeatures {
			supported += fmt.Sprintf("%s %d-%d ", f.Name, f.MinVersion, f.MaxVersion)
		}
		for _, f := range p.FinalizedFeatures {
			finalized += fmt.Sprintf("%s %d-%d ", f.Name, f.MinVersionLevel, f.MaxVersionLevel)
		}
		return supported, finalized
	}
	heartbeat := func() string {
		q := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		q.Group, q.MemberID, q.RebalanceTimeoutMillis = "features", "member", 1000
		q.SubscribedTopicNames, q.Topics = []string{"features"}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		var code int16
		harness.Until(t, testLimit, "the coordinator", func() error {
			code = ask[*kmsg.ConsumerGroupHeartbeatResponse](t, dial(t, b.Address), 1, q).ErrorCode
			if slices.Contains(passing, code) {
				return kerr.ErrorForCode(code)
			}
			return nil
		})
		return codeName(code)
	}
	coordinate(t, b.Address, "features")
	set := func(name string, level int16, kind int8) {
		t.Helper()
		q := featureChange(false, featureUpdate(name, level, kind))()
		refusedWith(t, name, ask[*kmsg.UpdateFeaturesResponse](t, dial(t, b.Address), 2, q).ErrorCode, nil)
	}
	has := func(what, got, want string) {
		t.Helper()
		if !strings.Contains(got, want) {
			t.Errorf("%s: no %q in %q", what, want, got)
		}
	}

	supported, finalized := features(4)
	has("supported", supported, "group.version 0-1 ")
	has("finalized", finalized, "group.version 1-1 ")
	supported, finalized = features(3)
	equal(t, "ranges from 0, to an older client", strings.Contains(supported, " 0-"), false)
	has("finalized, to an older client", finalized, "transaction.version 2-2 ")
	equal(t, "heartbeat", heartbeat(), "NONE")

	equal(t, "share groups", shareHeartbeatCode(t, b.Address), "GROUP_ID_NOT_FOUND")
	set("share.version", 0, 2)
	equal(t, "share groups, switched off", shareHeartbeatCode(t, b.Address), "UNSUPPORTED_VERSION")
	set("share.version", 1, 1)
	set("group.version", 0, 2)
	set("transaction.version", 1, 2)
	for _, when := range []string{"set", "set, after a restart"} {
		_, finalized = features(4)
		equal(t, "group.version is finalized, "+when, strings.Contains(finalized, "group.version"), false)
		has(when, finalized, "transaction.version 1-1 ")
		equal(t, "heartbeat, "+when, heartbeat(), "UNSUPPORTED_VERSION")
		if when == "set" {
			b.Kill()
			b.Start()
		}
	}
	createOn(t, b.Address, "features", 1)
	transact(t, b.Address, "features") // a client that goes by transaction.version 1
	set("group.version", 1, 1)
	set("transaction.version", 2, 1)
	equal(t, "heartbeat, once more", heartbeat(), "NONE")
	transact(t, b.Address, "features")
}

// transact commits a transaction of one record with a client of its own.
func transact(t *testing.T, address, topic string) {
	t.Helper()
	c := clientOf(t, address, kgo.TransactionalID(topic), kgo.DefaultProduceTopic(topic))
	if err := c.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produce(t, c, kgo.StringRecord("transacted"))
	if err := c.EndTransaction(within(t), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
}

// TestAdminKeysThatAreNotServedAreExplained holds what Apache Kafka 4.3 advertises and we
// do not against the reasons.
func TestAdminKeysThatAreNotServedAreExplained(t *testing.T) {
	const kraft = "KRaft's own quorum"
	reasons := map[kmsg.Key]string{
		kmsg.AddRaftVoter: kraft, kmsg.RemoveRaftVoter: kraft,
	}
	keys := func(address string) []int16 {
		var all []int16
		for _, k := range ask[*kmsg.ApiVersionsResponse](t, dial(t, address), 3, apiVersions()).ApiKeys {
			all = append(all, k.ApiKey)
		}
		return all
	}
	served, theirs := keys(broker(t).Address), keys(apache(t).Address)
	for _, k := range theirs {
		if !slices.Contains(served, k) && reasons[kmsg.Key(k)] == "" {
			t.Errorf("%s is served by Apache Kafka only", kmsg.NameForKey(k))
		}
	}
	for _, k := range served {
		if !slices.Contains(theirs, k) && servedHereOnly[kmsg.Key(k)] == "" {
			t.Errorf("%s is served by varve only", kmsg.NameForKey(k))
		}
	}
	for k := range servedHereOnly {
		equal(t, k.Name()+" is served by Apache Kafka", slices.Contains(theirs, int16(k)), false)
	}
}
