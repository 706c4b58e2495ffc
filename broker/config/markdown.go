package config

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// WriteMarkdown prints the table as docs/configuration.md.
func WriteMarkdown(w io.Writer) error {
	var b bytes.Buffer
	b.WriteString(`# Configuration

<!-- Printed from the table in broker/config; go test ./broker/config -run Documentation -update -->

Settings have Kafka's names; what Kafka has no name for is ` + "`varve.*`" + `. They come, the strongest first, from
` + "`--set key=value`" + `, from the environment, from the file given to ` + "`varve server`" + `, and from the defaults below.
` + "`log.retention.hours`" + ` is ` + "`VARVE_LOG_RETENTION_HOURS`" + ` in the environment and ` + "`varve.bucket`" + ` is ` + "`VARVE_BUCKET`" + `; a secret can be
read from a file by ` + "`VARVE_BUCKET_SECRET_KEY_FILE`" + `. A key that is not listed is refused, and so is a value that would not
be acted upon: nothing is silently ignored.

`)
	section := func(title, text string, keys []Key, keep func(*Key) bool) {
		fmt.Fprintf(&b, "## %s\n\n%s\n\n| key | type | default | values | meaning |\n| --- | --- | --- | --- | --- |\n", title, text)
		for i := range keys {
			if k := &keys[i]; keep(k) {
				fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", k.Name, k.Type, code(k.Default), cell(k.rangeText()), cell(k.Doc+k.note()))
			}
		}
		b.WriteString("\n")
	}
	enforced := func(k *Key) bool { return k.Enforcement == Enforced }
	t := table()
	section("Topics", "Set when a topic is created or altered; the default is the broker key named last.", t.topic, enforced)
	section("Broker", "Those marked dynamic can be altered while the broker runs.", t.broker, enforced)
	section("Not enforced yet", "Known, and refused unless they have their default.", append(append([]Key{}, t.topic...), t.broker...), func(k *Key) bool { return k.Enforcement == DefaultOnly })
	section("Accepted without effect", "They stand in Kafka's own example files, or are altered there while a broker runs; a notice at the start names each that is set.", t.broker, func(k *Key) bool { return k.Enforcement == NoEffect })
	section("Logins and TLS", "Refused at the start, where they would be relied on. Altered for one broker while it runs they are kept and told, as by an Apache Kafka that has neither logins nor TLS; the keys and certificates among them for one listener only, as `listener.name.NAME.KEY`.", t.broker, func(k *Key) bool { return k.Enforcement == Dormant })
	_, err := w.Write(append(bytes.TrimRight(b.Bytes(), "\n"), '\n'))
	return err
}

// note is what a row says beside its sentence.
func (k *Key) note() string {
	switch {
	case k.Enforcement == NoEffect && k.Dynamic:
		return " Why: " + k.Why + ". It can be altered while the broker runs, which changes nothing."
	case k.Enforcement != Enforced:
		return " Why: " + k.Why + "."
	case k.Topic && k.BrokerKey != "":
		var names []string
		for _, s := range k.Synonyms {
			names = append(names, "`"+s.Name+"`")
		}
		return " Default: " + strings.Join(names, ", ") + "."
	case k.Broker && k.Dynamic:
		return " Dynamic."
	}
	return ""
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + cell(s) + "`"
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
