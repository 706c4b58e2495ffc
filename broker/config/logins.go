package config

import "strings"

// Settings of logins and TLS that Apache Kafka lets be altered while it runs. A broker that
// has neither keeps them without acting on them: so does Kafka, and so does Varve.

const (
	noLogins = "no listener has logins yet"
	noTLS    = "no listener has TLS yet"
)

func dormant(why string) option {
	return func(k *Key) { k.Enforcement, k.Why, k.PerBroker = Dormant, why, true }
}

// store marks what holds keys and certificates: Kafka lets it be altered for single
// listeners only, since all of them would have to take it up together.
func store(k *Key) { k.perListener = true }

// class marks the name of a Java class, of which there is none.
func class(k *Key) {
	k.check = func(value string) string { return "Class " + value + " could not be found." }
}

var loginKeys = []Key{
	row("principal.builder.class", Class, "org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder", "Class that tells who a client is.", defaultOnly("clients are nobody in particular without logins"), func(k *Key) { k.PerBroker = true }),

	row("sasl.enabled.mechanisms", List, "GSSAPI", "Ways in which clients may log in.", dormant(noLogins)),
	row("sasl.jaas.config", Password, "", "Login module, with its options.", null, secret, dormant(noLogins)),
	row("sasl.kerberos.kinit.cmd", String, "/usr/bin/kinit", "Path of Kerberos's kinit.", dormant(noLogins)),
	row("sasl.kerberos.min.time.before.relogin", Long, "60000", "Pause between two logins to Kerberos.", dormant(noLogins)),
	row("sasl.kerberos.principal.to.local.rules", List, "DEFAULT", "Rules that make short names of Kerberos principals.", dormant(noLogins)),
	row("sasl.kerberos.service.name", String, "", "Kerberos principal of the broker.", null, dormant(noLogins)),
	row("sasl.kerberos.ticket.renew.jitter", Double, "0.05", "Random share of the time until a Kerberos ticket is renewed.", dormant(noLogins)),
	row("sasl.kerberos.ticket.renew.window.factor", Double, "0.8", "Share of a Kerberos ticket's life after which it is renewed.", dormant(noLogins)),
	row("sasl.login.refresh.buffer.seconds", Short, "300", "Time that a login is renewed before it ends.", dormant(noLogins)),
	row("sasl.login.refresh.min.period.seconds", Short, "60", "Shortest time before a login is renewed.", dormant(noLogins)),
	row("sasl.login.refresh.window.factor", Double, "0.8", "Share of a login's life after which it is renewed.", dormant(noLogins)),
	row("sasl.login.refresh.window.jitter", Double, "0.05", "Random share of a login's life that is added to it.", dormant(noLogins)),
	row("sasl.mechanism.inter.broker.protocol", String, "GSSAPI", "How brokers log in to each other.", dormant(noLogins)),

	row("ssl.cipher.suites", List, "", "Cipher suites of TLS.", dormant(noTLS)),
	row("ssl.client.auth", String, "none", "Whether clients must show a certificate.", oneOf("required", "requested", "none"), dormant(noTLS)),
	row("ssl.enabled.protocols", List, "TLSv1.2,TLSv1.3", "Versions of TLS.", dormant(noTLS)),
	row("ssl.endpoint.identification.algorithm", String, "https", "How a server's name is checked against its certificate.", dormant(noTLS)),
	row("ssl.engine.factory.class", Class, "", "Class that makes TLS connections.", null, class, dormant(noTLS)),
	row("ssl.key.password", Password, "", "Password of the private key.", null, secret, store, dormant(noTLS)),
	row("ssl.keymanager.algorithm", String, "SunX509", "Algorithm of Java's key manager.", dormant(noTLS)),
	row("ssl.keystore.certificate.chain", Password, "", "Certificates of the broker, in PEM.", null, secret, store, dormant(noTLS)),
	row("ssl.keystore.key", Password, "", "Private key of the broker, in PEM.", null, secret, store, dormant(noTLS)),
	row("ssl.keystore.location", String, "", "File of the broker's key and certificates.", null, store, dormant(noTLS)),
	row("ssl.keystore.password", Password, "", "Password of that file.", null, secret, store, dormant(noTLS)),
	row("ssl.keystore.type", String, "JKS", "Format of that file.", store, dormant(noTLS)),
	row("ssl.protocol", String, "TLSv1.3", "Version of TLS that a connection starts with.", dormant(noTLS)),
	row("ssl.provider", String, "", "Java's provider of TLS.", null, dormant(noTLS)),
	row("ssl.secure.random.implementation", String, "", "Java's source of random numbers.", null, dormant(noTLS)),
	row("ssl.trustmanager.algorithm", String, "PKIX", "Algorithm of Java's trust manager.", dormant(noTLS)),
	row("ssl.truststore.certificates", Password, "", "Certificates that are trusted, in PEM.", null, secret, store, dormant(noTLS)),
	row("ssl.truststore.location", String, "", "File of certificates that are trusted.", null, store, dormant(noTLS)),
	row("ssl.truststore.password", Password, "", "Password of that file.", null, secret, store, dormant(noTLS)),
	row("ssl.truststore.type", String, "JKS", "Format of that file.", store, dormant(noTLS)),
}

// brokerKey is the row of a key that may be altered on brokers: its own, or that of the
// setting which listener.name.NAME.SETTING is for one listener. nil is an unknown key.
func brokerKey(name string) *Key {
	byName := table().brokerByName
	if k := byName[name]; k != nil {
		return k
	}
	k := byName[dormantOf(name)]
	if k == nil || k.Enforcement != Dormant {
		return nil
	}
	one := *k
	one.Name, one.NoDefault, one.perListener = name, true, false
	return &one
}

// dormantOf is SETTING of listener.name.NAME.SETTING, without the mechanism that stands
// before a login module, as in listener.name.NAME.plain.sasl.jaas.config.
func dormantOf(name string) string {
	const login = "sasl.jaas.config"
	setting, _ := ofListener(name)
	if strings.HasSuffix(setting, "."+login) {
		return login
	}
	return setting
}

// ofListener is SETTING of listener.name.NAME.SETTING.
func ofListener(name string) (setting string, ok bool) {
	rest, ok := strings.CutPrefix(name, "listener.name.")
	if ok {
		_, setting, ok = strings.Cut(rest, ".")
	}
	return setting, ok
}
