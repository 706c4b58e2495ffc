package api

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"maps"
	"math"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap/zapcore"

	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/broker/config"
)

// codeOf compares an error's protocol code with the expected one; nil is none.
func codeOf(t *testing.T, what string, err error, want *kerr.Error) {
	t.Helper()
	if want == nil && err != nil || want != nil && !errors.Is(err, want) {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
}

func TestElectionsAreDecidedByLeaderAndReplicas(t *testing.T) { // KIP-460
	first, second, none := cluster.Partition{Replicas: []int32{1, 2}, Leader: 1}, cluster.Partition{Replicas: []int32{1, 2}, Leader: 2}, cluster.Partition{Replicas: []int32{1, 2}, Leader: -1}
	for _, c := range []struct {
		what string
		p    cluster.Partition
		kind int8
		want *kerr.Error
	}{
		{"preferred, leads", first, preferredElection, kerr.ElectionNotNeeded},
		{"preferred, another leads", second, preferredElection, kerr.PreferredLeaderNotAvailable},
		{"preferred, nobody leads", none, preferredElection, kerr.PreferredLeaderNotAvailable},
		{"unclean, leads", first, uncleanElection, kerr.ElectionNotNeeded},
		{"unclean, another leads", second, uncleanElection, kerr.ElectionNotNeeded},
		{"unclean, nobody leads", none, uncleanElection, kerr.EligibleLeadersNotAvailable},
		{"unknown", first, 2, kerr.InvalidRequest},
	} {
		codeOf(t, c.what, elect(&c.p, c.kind), c.want)
	}
}

func TestReassignmentsAreTakenOnlyToWhereReplicasAre(t *testing.T) { // KIP-455, KIP-860
	current, brokers := []int32{1, 2}, []int32{1, 2, 3}
	for _, c := range []struct {
		what   string
		target []int32
		resize bool
		want   *kerr.Error
	}{
		{"cancel", nil, true, kerr.NoReassignmentInProgress},
		{"the same", []int32{1, 2}, false, nil},
		{"empty", []int32{}, true, kerr.InvalidReplicaAssignment},
		{"twice", []int32{1, 1}, true, kerr.InvalidReplicaAssignment},
		{"unknown broker", []int32{1, 4}, true, kerr.InvalidReplicaAssignment},
		{"another order", []int32{2, 1}, true, kerr.InvalidReplicaAssignment},
		{"elsewhere", []int32{1, 3}, false, kerr.InvalidReplicaAssignment},
		{"fewer, not allowed", []int32{1}, false, kerr.InvalidReplicationFactor},
		{"fewer", []int32{1}, true, kerr.InvalidReplicaAssignment},
		{"unknown broker, and more", []int32{1, 2, 4}, false, kerr.InvalidReplicaAssignment},
	} {
		codeOf(t, c.what, reassign(current, c.target, brokers, c.resize), c.want)
	}
}

func TestLogsStayInTheirDirectories(t *testing.T) { // KIP-113
	dirs := []LogDir{
		{Path: "/a", Logs: []LogDirEntry{{Topic: "t", Partition: 0}}},
		{Path: "/b"},
		{Path: "/broken", Err: errors.New("no disk")},
		{Path: "remote://bucket", Logs: []LogDirEntry{{Topic: "t", Partition: 0}}},
	}
	for _, c := range []struct {
		path  string
		index int32
		want  *kerr.Error
	}{
		{"/a", 0, nil},
		{"/b", 0, kerr.InvalidRequest},
		{"/a", 1, kerr.ReplicaNotAvailable},
		{"/broken", 0, kerr.KafkaStorageError},
		{"/c", 0, kerr.LogDirNotFound},
		{"remote://bucket", 0, kerr.LogDirNotFound},
		{"", 0, kerr.LogDirNotFound},
	} {
		codeOf(t, c.path, newLogPlaces(dirs).move("t", c.index, c.path), c.want)
	}
}

func TestCredentialsAreAlteredOrRefusedForTheFirstFault(t *testing.T) { // KIP-554
	drop := func(user string, mechanism int8) kmsg.AlterUserSCRAMCredentialsRequestDeletion {
		return kmsg.AlterUserSCRAMCredentialsRequestDeletion{Name: user, Mechanism: mechanism}
	}
	set := func(user string, mechanism int8, iterations int32) kmsg.AlterUserSCRAMCredentialsRequestUpsertion {
		return kmsg.AlterUserSCRAMCredentialsRequestUpsertion{Name: user, Mechanism: mechanism, Iterations: iterations}
	}
	const name256, name512 = "SCRAM-SHA-256", "SCRAM-SHA-512"
	before := cluster.Credentials{name256: {Iterations: 5000}}
	has := func(user string) cluster.Credentials {
		if user != "u" {
			return nil
		}
		return before
	}
	type deletions = []kmsg.AlterUserSCRAMCredentialsRequestDeletion
	type upsertions = []kmsg.AlterUserSCRAMCredentialsRequestUpsertion
	for _, c := range []struct {
		what  string
		d     deletions
		u     upsertions
		want  *kerr.Error      // of user "u"
		after map[string]int32 // iterations by mechanism
	}{
		{"delete", deletions{drop("u", scramSHA256)}, nil, nil, map[string]int32{}},
		{"delete what is not there", deletions{drop("u", scramSHA512)}, nil, kerr.ResourceNotFound, nil},
		{"delete twice", deletions{drop("u", scramSHA256), drop("u", scramSHA256)}, nil, kerr.DuplicateResource, nil},
		{"delete of an unknown mechanism, then set", deletions{drop("u", 0)}, upsertions{set("u", scramSHA256, 4096)}, kerr.UnsupportedSaslMechanism, nil},
		{"delete and set", deletions{drop("u", scramSHA256)}, upsertions{set("u", scramSHA512, 4096)}, kerr.DuplicateResource, nil},
		{"set", nil, upsertions{set("u", scramSHA512, 4096)}, nil, map[string]int32{name256: 5000, name512: 4096}},
		{"set anew", nil, upsertions{set("u", scramSHA256, 16384)}, nil, map[string]int32{name256: 16384}},
		{"set twice", nil, upsertions{set("u", scramSHA512, 4096), set("u", scramSHA256, 4096)}, kerr.DuplicateResource, nil},
		{"set badly, then well", nil, upsertions{set("u", scramSHA512, 1), set("u", scramSHA256, 4096)}, kerr.UnacceptableCredential, nil},
		{"few iterations", nil, upsertions{set("u", scramSHA256, scramMinIterations-1)}, kerr.UnacceptableCredential, nil},
		{"many iterations", nil, upsertions{set("u", scramSHA256, scramMaxIterations+1)}, kerr.UnacceptableCredential, nil},
		{"unknown mechanism", nil, upsertions{set("u", 3, 4096)}, kerr.UnsupportedSaslMechanism, nil},
	} {
		changes := scramChanges(&kmsg.AlterUserSCRAMCredentialsRequest{Deletions: c.d, Upsertions: c.u}, has)
		if len(changes) != 1 {
			t.Errorf("%s: %d users", c.what, len(changes))
		}
		codeOf(t, c.what, changes["u"].err, c.want)
		if c.want != nil || changes["u"].err != nil {
			continue
		}
		after := make(map[string]int32)
		for mechanism, credential := range changes["u"].make(before) {
			after[mechanism] = credential.Iterations
		}
		if !maps.Equal(after, c.after) {
			t.Errorf("%s: has %v after it, want %v", c.what, after, c.after)
		}
		if len(before) != 1 || before[name256].Iterations != 5000 {
			t.Fatalf("%s: the old credentials have changed to %v", c.what, before)
		}
	}
	nobody := scramChanges(&kmsg.AlterUserSCRAMCredentialsRequest{Upsertions: upsertions{set("", scramSHA256, 4096)}}, has)
	codeOf(t, "no user", nobody[""].err, kerr.UnacceptableCredential)
}

// The example of RFC 7677, section 3: user "user", password "pencil".
func TestCredentialVerifiesItsPassword(t *testing.T) {
	salt, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	if err != nil {
		t.Fatal(err)
	}
	salted, err := pbkdf2.Key(sha256.New, "pencil", salt, 4096, sha256.Size)
	if err != nil {
		t.Fatal(err)
	}
	c := scramCredential(&kmsg.AlterUserSCRAMCredentialsRequestUpsertion{Name: "user", Mechanism: scramSHA256, Iterations: 4096, Salt: salt, SaltedPassword: salted})
	message := "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	sign := func(key string) []byte {
		raw, err := base64.StdEncoding.DecodeString(key)
		if err != nil {
			t.Fatal(err)
		}
		m := hmac.New(sha256.New, raw)
		m.Write([]byte(message))
		return m.Sum(nil)
	}
	if got := base64.StdEncoding.EncodeToString(sign(c.ServerKey)); got != "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=" {
		t.Errorf("server signature %s", got)
	}
	proof, err := base64.StdEncoding.DecodeString("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range sign(c.StoredKey) { // the proof is the client key, combined with this
		proof[i] ^= b
	}
	if stored := sha256.Sum256(proof); base64.StdEncoding.EncodeToString(stored[:]) != c.StoredKey {
		t.Error("the stored key does not verify the client's proof")
	}
	if c.Salt != base64.StdEncoding.EncodeToString(salt) || c.Iterations != 4096 {
		t.Errorf("salt %s, %d iterations", c.Salt, c.Iterations)
	}
}

func TestQuotasAreChecked(t *testing.T) { // KIP-546
	name := "n"
	entity := func(types ...string) []kmsg.AlterClientQuotasRequestEntryEntity {
		var all []kmsg.AlterClientQuotasRequestEntryEntity
		for _, kind := range types {
			all = append(all, kmsg.AlterClientQuotasRequestEntryEntity{Type: kind, Name: &name})
		}
		return all
	}
	address := "127.0.0.1"
	ip := []kmsg.AlterClientQuotasRequestEntryEntity{{Type: "ip", Name: &address}}
	const rate, connections = "producer_byte_rate", "connection_creation_rate"
	for _, c := range []struct {
		what, sentence string // no sentence: taken
		entity         []kmsg.AlterClientQuotasRequestEntryEntity
		op             kmsg.AlterClientQuotasRequestEntryOp
	}{
		{"removal", "", entity("user"), kmsg.AlterClientQuotasRequestEntryOp{Key: rate, Remove: true}},
		{"a rate", "", entity("user", "client-id"), kmsg.AlterClientQuotasRequestEntryOp{Key: rate, Value: 1}},
		{"a share", "", entity("user"), kmsg.AlterClientQuotasRequestEntryOp{Key: "request_percentage", Value: 0.5}},
		{"of an address", "", ip, kmsg.AlterClientQuotasRequestEntryOp{Key: connections, Value: math.MaxInt32}},
		{"of an address, too large", "too large", ip, kmsg.AlterClientQuotasRequestEntryOp{Key: connections, Value: math.MaxInt32 + 1}},
		{"of an address for a user", "Invalid configuration key", entity("user"), kmsg.AlterClientQuotasRequestEntryOp{Key: connections, Value: 1}},
		{"fraction", "fractional", entity("user"), kmsg.AlterClientQuotasRequestEntryOp{Key: rate, Value: 1.5}},
		{"not a number", "greater than 0", entity("user"), kmsg.AlterClientQuotasRequestEntryOp{Key: rate, Value: math.NaN()}},
		{"infinite", "too large", entity("user"), kmsg.AlterClientQuotasRequestEntryOp{Key: rate, Value: math.Inf(1)}},
		{"an infinite share", "a number", entity("user"), kmsg.AlterClientQuotasRequestEntryOp{Key: "request_percentage", Value: math.Inf(1)}},
		{"nothing", "greater than 0", entity("user"), kmsg.AlterClientQuotasRequestEntryOp{Key: rate}},
		{"type twice", "duplicate", entity("user", "user"), kmsg.AlterClientQuotasRequestEntryOp{Key: rate, Value: 1}},
		{"no address", "not a valid IP", entity("ip"), kmsg.AlterClientQuotasRequestEntryOp{Key: connections, Value: 1}},
		{"address and user", "combination", append(entity("user"), ip...), kmsg.AlterClientQuotasRequestEntryOp{Key: rate, Value: 1}},
		{"nobody", "empty", nil, kmsg.AlterClientQuotasRequestEntryOp{Key: rate, Value: 1}},
		{"a group", "Unhandled", entity("group"), kmsg.AlterClientQuotasRequestEntryOp{Key: rate, Value: 1}},
	} {
		err := checkQuotas(&kmsg.AlterClientQuotasRequestEntry{Entity: c.entity, Ops: []kmsg.AlterClientQuotasRequestEntryOp{c.op}})
		switch {
		case c.sentence == "":
			codeOf(t, c.what, err, nil)
		case !errors.Is(err, kerr.InvalidRequest) || !strings.Contains(err.Error(), c.sentence):
			t.Errorf("%s: got %v, want INVALID_REQUEST: %s", c.what, err, c.sentence)
		}
	}
}

func TestFeaturesAreUpdatedAllOrNone(t *testing.T) { // KIP-584
	update := func(name string, level int16, kind int8) kmsg.UpdateFeaturesRequestFeatureUpdate {
		return kmsg.UpdateFeaturesRequestFeatureUpdate{Feature: name, MaxVersionLevel: level, UpgradeType: kind}
	}
	const txn = "transaction.version"
	type updateList = []kmsg.UpdateFeaturesRequestFeatureUpdate
	for _, c := range []struct {
		what    string
		set     map[string]int16
		updates updateList
		want    map[string]int16 // nil: refused
	}{
		{"nothing", nil, nil, map[string]int16{}},
		{"to its own level", nil, updateList{update(txn, 2, upgrade)}, map[string]int16{txn: 2}},
		{"down, as an upgrade", nil, updateList{update(txn, 1, upgrade)}, nil},
		{"down, safely", nil, updateList{update(txn, 1, safeDowngrade)}, map[string]int16{txn: 1}},
		{"off, unsafely", map[string]int16{txn: 1}, updateList{update(groupVersion, 0, unsafeDowngrade)}, map[string]int16{txn: 1, groupVersion: 0}},
		{"up, as a downgrade", map[string]int16{txn: 1}, updateList{update(txn, 2, safeDowngrade)}, nil},
		{"up", map[string]int16{txn: 0}, updateList{update(txn, 2, upgrade)}, map[string]int16{txn: 2}},
		{"above", nil, updateList{update(txn, 3, upgrade)}, nil},
		{"below", nil, updateList{update(txn, -1, safeDowngrade)}, nil},
		{"unknown way", nil, updateList{update(txn, 2, 4)}, nil},
		{"one of two unknown", nil, updateList{update(txn, 1, safeDowngrade), update("no.such", 1, upgrade)}, nil},
	} {
		before := maps.Clone(c.set)
		got, err := updated(c.set, c.updates)
		if c.want == nil {
			codeOf(t, c.what, err, kerr.InvalidUpdateVersion)
		} else if err != nil || !maps.Equal(got, c.want) {
			t.Errorf("%s: got %v (%v), want %v", c.what, got, err, c.want)
		}
		if !maps.Equal(before, c.set) {
			t.Errorf("%s: the levels that were set have changed to %v", c.what, c.set)
		}
	}
}

// A level that a later version has set is served as far as this one goes.
func TestFeatureLevelIsBoundedByWhatIsServed(t *testing.T) {
	f := feature{"f", 0, 2}
	for _, c := range []struct {
		set  map[string]int16
		want int16
	}{{nil, 2}, {map[string]int16{"f": 0}, 0}, {map[string]int16{"f": 1}, 1}, {map[string]int16{"f": 9}, 2}} {
		if got := f.level(c.set); got != c.want {
			t.Errorf("%v: level %d, want %d", c.set, got, c.want)
		}
	}
}

func TestVersion0OfUpdateFeaturesSaysHowByAFlag(t *testing.T) {
	for _, down := range []bool{false, true} {
		q := &kmsg.UpdateFeaturesRequest{FeatureUpdates: []kmsg.UpdateFeaturesRequestFeatureUpdate{{Feature: "f", AllowDowngrade: down}}}
		want := int8(upgrade)
		if down {
			want = safeDowngrade
		}
		if got := updates(q)[0].UpgradeType; got != want {
			t.Errorf("allowed to go down %v: type %d, want %d", down, got, want)
		}
	}
}

func TestLoggerLevels(t *testing.T) { // KIP-412
	value := func(s string) *string { return &s }
	for _, c := range []struct {
		op    config.Op
		level zapcore.Level
		want  *kerr.Error
	}{
		{config.Op{Name: "root", Value: value("WARN")}, zapcore.WarnLevel, nil},
		{config.Op{Name: "root", Value: value("TRACE")}, zapcore.DebugLevel, nil},
		{config.Op{Name: "root", Value: value("LOUD")}, zapcore.InfoLevel, kerr.InvalidConfig},
		{config.Op{Name: "root"}, zapcore.InfoLevel, kerr.InvalidRequest},
		{config.Op{Name: "root", Type: config.Delete}, zapcore.InfoLevel, kerr.InvalidRequest},
		{config.Op{Name: "root", Type: config.Append, Value: value("WARN")}, zapcore.InfoLevel, kerr.InvalidRequest},
		{config.Op{Name: "kafka.server.KafkaApis", Value: value("WARN")}, zapcore.InfoLevel, kerr.InvalidConfig},
	} {
		level, err := loggerLevel(zapcore.InfoLevel, []config.Op{c.op})
		codeOf(t, c.op.Name, err, c.want)
		if err == nil && level != c.level {
			t.Errorf("level %s, want %s", level, c.level)
		}
	}
	for _, l := range loggerLevels {
		if e := describeLoggers(l.level)[0]; e.Value == nil || *e.Value != l.name && l.name != "TRACE" {
			t.Errorf("level %s is described as %v", l.name, e.Value)
		}
	}
}

func TestSubscriptionsAreRefusedWithKafkasCodes(t *testing.T) { // KIP-714
	value := func(s string) *string { return &s }
	for _, c := range []struct {
		op   config.Op
		want *kerr.Error
	}{
		{config.Op{Name: "interval.ms", Value: value("1000")}, nil},
		{config.Op{Name: "interval.ms", Value: value("1")}, kerr.InvalidRequest},
		{config.Op{Name: "interval.ms", Type: config.Append, Value: value("1")}, kerr.InvalidConfig},
		{config.Op{Name: "metrics", Type: config.Append, Value: value("b")}, kerr.InvalidConfig},
		{config.Op{Name: "metrics", Value: value("b")}, nil},
		{config.Op{Name: "match", Value: value("client_id")}, kerr.InvalidConfig},
		{config.Op{Name: "no.such", Value: value("1")}, kerr.InvalidRequest},
		{config.Op{Name: "no.such", Type: config.Delete}, nil},
	} {
		next, err := alteredClientMetrics(map[string]string{"metrics": "a"}, []config.Op{c.op})
		if err == nil {
			err = checkSubscription(next)
		}
		if c.want == nil && err != nil || c.want != nil && code(err) != c.want.Code {
			t.Errorf("%s: got %v, want %v", c.op.Name, err, c.want)
		}
		if c.op.Name == "metrics" && c.want == nil && next["metrics"] != "b" {
			t.Errorf("set to %q", next["metrics"])
		}
	}
	codeOf(t, "no name", checkClientMetrics(""), kerr.InvalidRequest)
	codeOf(t, "a long name", checkClientMetrics(strings.Repeat("x", maxSubscription+1)), kerr.InvalidRequest)
}
