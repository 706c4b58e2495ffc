package config

import (
	"strings"
	"testing"
)

// started is a broker with one listener, PLAINTEXT.
func started(t *testing.T) *Broker {
	t.Helper()
	b, _, err := Load(Sources{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestDormantSettingsAreToldAndNotActedOn: source, synonyms and sensitivity are those of
// Apache Kafka 4.3, which was asked; doubles are written as Java does.
func TestDormantSettingsAreToldAndNotActedOn(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"sasl.kerberos.min.time.before.relogin", "58000", "58000 of broker [58000 of broker, 60000 of default]"},
		{"sasl.login.refresh.window.factor", "1", "1.0 of broker [1 of broker, 0.8 of default]"},
		{"sasl.login.refresh.window.jitter", "-1e3", "-1000.0 of broker [-1e3 of broker, 0.05 of default]"},
		{"sasl.kerberos.service.name", "kafka", "kafka of broker [kafka of broker]"},
		{"sasl.enabled.mechanisms", "", " of broker [ of broker, GSSAPI of default]"},
		{"sasl.jaas.config", "open sesame", "null of broker [null of broker]"},
		{"ssl.client.auth", "required", "required of broker [required of broker, none of default]"},
		{"listener.name.plaintext.ssl.keystore.location", "/k", "/k of broker [/k of broker], read only"},
		{"listener.name.plaintext.ssl.keystore.password", "open sesame", "null of broker [null of broker], read only"},
		{"listener.name.plaintext.plain.sasl.jaas.config", "open sesame", "null of broker [null of broker], read only"},
		{"listener.name.plaintext.sasl.kerberos.min.time.before.relogin", "5", "5 of broker [5 of broker, 60000 of default], read only"},
	} {
		changed, err := started(t).WithDynamic(nil, map[string]string{c.name: c.value})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		got := "not told"
		for _, e := range changed.Describe() {
			if e.Name == c.name {
				got = told(&e)
			}
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func told(e *Entry) string {
	value := func(v *string, from Source) string {
		s := "null"
		if v != nil {
			s = *v
		}
		return s + " of " + map[Source]string{DynamicBrokerConfig: "broker", DefaultConfig: "default"}[from]
	}
	var synonyms []string
	for _, s := range e.Synonyms {
		synonyms = append(synonyms, value(s.Value, s.Source))
	}
	s := value(e.Value, e.Source) + " [" + strings.Join(synonyms, ", ") + "]"
	if e.ReadOnly {
		s += ", read only"
	}
	return s
}

// TestWhatADormantSettingMayNotBe: a wrong type, a place where Kafka has it not, and in
// a file, where it would be relied on. No sentence shows a secret.
func TestWhatADormantSettingMayNotBe(t *testing.T) {
	const secret = "open sesame"
	for _, c := range []struct {
		all         bool
		name, value string
		want        string // "" is no refusal
	}{
		{false, "sasl.kerberos.min.time.before.relogin", "soon", "Not a number of type LONG"},
		{false, "sasl.login.refresh.buffer.seconds", "40000", "Not a number of type SHORT"},
		{false, "sasl.login.refresh.buffer.seconds", "3601", ""}, // Kafka's clients have a range, its brokers none
		{false, "ssl.client.auth", "sometimes", "String must be one of: required, requested, none"},
		{false, "ssl.engine.factory.class", "x", "Class x could not be found"},
		{false, "ssl.keystore.password", secret, "only per-listener using the listener prefix: ssl.keystore.password"},
		{false, "principal.builder.class", "org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder", ""},
		{false, "principal.builder.class", "x", "Only the default"},
		{true, "sasl.jaas.config", secret, "broker id must be specified: sasl.jaas.config"},
		{true, "listener.name.plaintext.ssl.keystore.password", secret, "broker id must be specified"},
		{false, "listener.name.plaintext.ssl.client.auth", "sometimes", "String must be one of"},
		{false, "listener.name.elsewhere.ssl.keystore.password", secret, ""}, // or a renamed listener would undo all that was altered
		{false, "listener.name.plaintext.max.connections", "5", "Unknown setting listener.name.plaintext.max.connections"},
		{false, "listener.name.plaintext", secret, "Unknown setting listener.name.plaintext"},
		{false, "listener.name.", secret, "Unknown setting listener.name."},
	} {
		configs := map[string]string{c.name: c.value}
		var all, one map[string]string
		if c.all {
			all = configs
		} else {
			one = configs
		}
		_, err := started(t).WithDynamic(all, one)
		refusedAs(t, c.name, err, c.want, secret)
	}
	for _, name := range []string{"sasl.jaas.config", "ssl.keystore.location", "ssl.client.auth", "sasl.enabled.mechanisms"} {
		_, _, err := Load(Sources{Sets: []string{name + "=" + secret}})
		refusedAs(t, name, err, name+" is a setting of Apache Kafka that Varve does not have yet; take it out", secret)
	}
}

func refusedAs(t *testing.T, name string, err error, want, secret string) {
	t.Helper()
	switch {
	case (err != nil) != (want != ""), err != nil && !strings.Contains(err.Error(), want):
		t.Errorf("%s: %v, want %q", name, err, want)
	case err != nil && strings.Contains(err.Error(), secret):
		t.Errorf("%s: the refusal shows the secret: %v", name, err)
	}
}

// TestListsOfDormantSettingsAreExtended: what is appended comes after the default.
func TestListsOfDormantSettingsAreExtended(t *testing.T) {
	plain, kerberos := "PLAIN", "kafka"
	got, err := AlterBroker(nil, []Op{{Type: Append, Name: "sasl.enabled.mechanisms", Value: &plain}})
	if err != nil || got["sasl.enabled.mechanisms"] != "GSSAPI,PLAIN" {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := AlterBroker(nil, []Op{{Type: Append, Name: "sasl.kerberos.service.name", Value: &kerberos}}); err == nil {
		t.Errorf("appending to what is no list: %v", got)
	}
}

// TestDoublesAreWrittenAsByJava covers both of its forms and the border between them.
func TestDoublesAreWrittenAsByJava(t *testing.T) {
	k := &Key{Type: Double}
	for value, want := range map[string]string{
		"0": "0.0", "-0.5": "-0.5", "1": "1.0", "0.250": "0.25", "1e3": "1000.0", "9999999": "9999999.0", "10000000": "1.0E7",
		"0.001": "0.001", "0.00012": "1.2E-4", "1e-10": "1.0E-10", "1.5e100": "1.5E100", maxDouble: maxDouble, "odd": "odd",
	} {
		if got := k.rendered(value); got != want {
			t.Errorf("%s: %s, want %s", value, got, want)
		}
	}
}
