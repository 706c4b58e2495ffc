//go:build interop

package interop

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/test/harness"
)

// alterBroker is alterRequest for broker 0, or (all) for all brokers.
func alterBroker(all bool, op kmsg.IncrementalAlterConfigOp, name, value string) *kmsg.IncrementalAlterConfigsRequest {
	q := alterRequest("0", op, name, value)
	q.Resources[0].ResourceType = kmsg.ConfigResourceTypeBroker
	if all {
		q.Resources[0].ResourceName = ""
	}
	if op == kmsg.IncrementalAlterConfigOpDelete {
		q.Resources[0].Configs[0].Value = nil
	}
	return q
}

// loginProbes alter settings of logins and TLS on brokers that have neither, to see what
// is refused; nothing is changed.
func loginProbes() []adminProbe {
	const set, add, del = kmsg.IncrementalAlterConfigOpSet, kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpDelete
	const unknown = "a setting that nothing here acts on is refused by INVALID_CONFIG; Kafka keeps any name, and says of some only that they are not dynamic"
	var all []adminProbe
	for _, c := range []struct {
		all         bool
		op          kmsg.IncrementalAlterConfigOp
		name, value string
		differs     string
	}{
		{op: set, name: "sasl.kerberos.min.time.before.relogin", value: "58000"},
		{op: set, name: "sasl.kerberos.min.time.before.relogin", value: "-1"},
		{op: set, name: "sasl.kerberos.min.time.before.relogin", value: "soon"},
		{op: set, name: "sasl.kerberos.min.time.before.relogin", value: "1", all: true},
		{op: del, name: "sasl.kerberos.min.time.before.relogin"},
		{op: add, name: "sasl.kerberos.service.name", value: "x"},
		{op: add, name: "sasl.enabled.mechanisms", value: "PLAIN"},
		{op: set, name: "sasl.enabled.mechanisms", value: ""},
		{op: set, name: "sasl.mechanism.inter.broker.protocol", value: "PLAIN"},
		{op: set, name: "sasl.kerberos.principal.to.local.rules", value: "RULE:nonsense"},
		{op: set, name: "sasl.kerberos.ticket.renew.jitter", value: "-5"},
		{op: set, name: "sasl.kerberos.ticket.renew.window.factor", value: "77"},
		{op: set, name: "sasl.login.refresh.buffer.seconds", value: "3601"},
		{op: set, name: "sasl.login.refresh.buffer.seconds", value: "40000"},
		{op: set, name: "sasl.login.refresh.min.period.seconds", value: "901"},
		{op: set, name: "sasl.login.refresh.window.factor", value: "1.01"},
		{op: set, name: "sasl.jaas.config", value: "nonsense"},
		{op: set, name: "sasl.jaas.config", value: "nonsense", all: true},
		{op: set, name: "sasl.login.class", value: "x", differs: unknown},
		{op: set, name: "connections.max.reauth.ms", value: "5", differs: unknown},
		{op: set, name: "principal.builder.class", value: "no.such.Class"},
		{op: set, name: "ssl.client.auth", value: "required"},
		{op: set, name: "ssl.client.auth", value: "sometimes"},
		{op: set, name: "ssl.client.auth", value: "none", all: true},
		{op: set, name: "ssl.cipher.suites", value: "x"},
		{op: set, name: "ssl.engine.factory.class", value: "no.such.Class"},
		{op: set, name: "ssl.key.password", value: "x"},
		{op: set, name: "ssl.keystore.location", value: "/nowhere"},
		{op: set, name: "ssl.truststore.type", value: "JKS"},
		{op: set, name: "listener.name.plaintext.ssl.keystore.location", value: "/nowhere"},
		{op: set, name: "listener.name.plaintext.ssl.keystore.location", value: "/nowhere", all: true},
		{op: set, name: "listener.name.plaintext.ssl.client.auth", value: "sometimes"},
		{op: set, name: "listener.name.plaintext.sasl.kerberos.min.time.before.relogin", value: "soon"},
		{op: set, name: "listener.name.plaintext.no.such", value: "1", differs: unknown},
		{op: set, name: "no.such", value: "1", differs: unknown},
		{op: set, name: "node.id", value: "5"},
		{op: set, name: "log.retention.ms", value: "soon"},
	} {
		p := adminProbe{
			name: fmt.Sprintf("operation %d on %s of the broker (of all: %v), %s", c.op, c.name, c.all, c.value), key: kmsg.IncrementalAlterConfigs, differs: c.differs,
			request: func() kmsg.Request {
				q := alterBroker(c.all, c.op, c.name, c.value)
				q.ValidateOnly = true
				return q
			},
		}
		if c.differs != "" {
			p.want = "INVALID_CONFIG"
		}
		all = append(all, p)
	}
	return all
}

// TestSettingsOfLoginsAreKeptAsByApacheKafka alters settings of logins and TLS on brokers
// that have neither. What both tell of them must be equal: value, source, synonyms, and
// that secrets are not told. Kafka takes a change up some time after its answer.
func TestSettingsOfLoginsAreKeptAsByApacheKafka(t *testing.T) {
	const secret = "open-sesame"
	ours, theirs := dial(t, broker(t).Address), dial(t, apache(t).Address)
	for _, c := range []struct{ name, value string }{
		{"sasl.kerberos.min.time.before.relogin", "58000"},
		{"sasl.kerberos.service.name", "kafka"},
		{"sasl.kerberos.kinit.cmd", ""},
		{"sasl.kerberos.principal.to.local.rules", "RULE:[1:$1],DEFAULT"},
		{"sasl.kerberos.ticket.renew.jitter", "1"},
		{"sasl.login.refresh.buffer.seconds", "3601"},
		{"sasl.login.refresh.window.factor", "-1e3"},
		{"sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256"},
		{"sasl.mechanism.inter.broker.protocol", "PLAIN"},
		{"sasl.jaas.config", secret},
		{"principal.builder.class", "org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder"},
		{"ssl.client.auth", "required"},
		{"ssl.cipher.suites", "a,b"},
		{"ssl.provider", "x"},
		{"listener.name.plaintext.ssl.keystore.location", "/nowhere"},
		{"listener.name.plaintext.ssl.keystore.password", secret},
		{"listener.name.plaintext.plain.sasl.jaas.config", secret},
		{"listener.name.elsewhere.ssl.keystore.location", "/nowhere"},
		{"listener.name.plaintext.sasl.kerberos.service.name", "kafka"},
		{"listener.name.plaintext.sasl.kerberos.min.time.before.relogin", "5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, op := range []kmsg.IncrementalAlterConfigOp{kmsg.IncrementalAlterConfigOpSet, kmsg.IncrementalAlterConfigOpDelete} {
				before := brokerConfig(t, theirs, c.name)
				for _, conn := range []*rawConn{ours, theirs} {
					p := ask[*kmsg.IncrementalAlterConfigsResponse](t, conn, 1, alterBroker(false, op, c.name, c.value))
					if code := p.Resources[0].ErrorCode; code != 0 {
						t.Fatalf("%s: %s", conn.RemoteAddr(), codeName(code))
					}
				}
				harness.Until(t, testLimit, "the same of both brokers", func() error {
					got, want := brokerConfig(t, ours, c.name), brokerConfig(t, theirs, c.name)
					if got != want || want == before {
						return fmt.Errorf("varve: %s\nKafka: %s", got, want)
					}
					return nil
				})
				if got := brokerConfig(t, ours, c.name); strings.Contains(got, secret) {
					t.Errorf("varve tells a secret: %s", got)
				}
			}
		})
	}
}

// brokerConfig is what a broker tells of one of its settings.
func brokerConfig(t testing.TB, conn *rawConn, name string) string {
	q := kmsg.NewPtrDescribeConfigsRequest()
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName, r.ConfigNames = kmsg.ConfigResourceTypeBroker, "0", []string{name}
	q.Resources, q.IncludeSynonyms = append(q.Resources, r), true
	return canonical(ask[*kmsg.DescribeConfigsResponse](t, conn, 4, q))
}
