package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/varvelog/varve/broker/cluster"
	"github.com/varvelog/varve/broker/config"
	"github.com/varvelog/varve/broker/partition"
	"github.com/varvelog/varve/retention"
	"github.com/varvelog/varve/tiering"
)

// TierExplanation is what GET /tier/explain says of one partition: for each segment where
// it is, why, and what happens to it next. It is what the background work decides by,
// evaluated at this moment.
type TierExplanation struct {
	Topic            string               `json:"topic"`
	Partition        int32                `json:"partition"`
	Leader           int32                `json:"leader"` // -1: none. Only the leader plans
	LogStart         int64                `json:"log_start"`
	LocalStart       int64                `json:"local_start"`
	TieredEnd        int64                `json:"tiered_end"` // -1: not tiered
	HighWatermark    int64                `json:"high_watermark"`
	LastStable       int64                `json:"last_stable"`
	End              int64                `json:"end"`
	CopyEveryMs      int64                `json:"copy_every_ms"`      // how late a copy may be
	RetentionEveryMs int64                `json:"retention_every_ms"` // how late a deletion may be
	Compaction       *CompactionState     `json:"compaction,omitempty"`
	Segments         []SegmentExplanation `json:"segments"` // of the leader only
}

// CompactionState is what compaction decides of a partition.
type CompactionState struct {
	FirstDirty int64           `json:"first_dirty"` // below it the log has been compacted
	Bound      int64           `json:"bound"`       // from it on nothing is compacted yet
	CleanBytes int64           `json:"clean_bytes"`
	DirtyBytes int64           `json:"dirty_bytes"`
	Ratio      float64         `json:"dirty_ratio"`
	Due        bool            `json:"due"`
	By         *config.Setting `json:"by,omitempty"` // what makes it due
	MinRatio   *config.Setting `json:"min_ratio"`
	MinLag     *config.Setting `json:"min_lag"`
	MaxLag     *config.Setting `json:"max_lag"`
	OverdueMs  int64           `json:"overdue_ms"` // by which the largest lag is exceeded
	Held       string          `json:"held,omitempty"`
}

// SegmentExplanation is one segment of a TierExplanation.
type SegmentExplanation struct {
	Base         int64  `json:"base"`
	Next         int64  `json:"next"`
	Size         int64  `json:"size"`          // bytes
	MaxTimestamp int64  `json:"max_timestamp"` // ms; -1: none
	Active       bool   `json:"active"`
	Where        string `json:"where"` // local, bucket, both
	Steps        []Step `json:"steps"` // what happens to it, the next first; none: nothing ever
}

// Step is something that happens to a segment.
type Step struct {
	Action  string          `json:"action"`            // roll, copy, trim, expire
	Due     bool            `json:"due"`               // now, with the next pass
	At      int64           `json:"at,omitempty"`      // ms: when; 0: not by time
	Room    int64           `json:"room,omitempty"`    // bytes to be appended before its size does it; with RoomBy
	Setting *config.Setting `json:"setting,omitempty"` // by which
	RoomBy  *config.Setting `json:"room_by,omitempty"`
	Cause   string          `json:"cause,omitempty"` // where it is no setting: log start offset
	Held    string          `json:"held,omitempty"`  // what it waits for
}

// explainer makes explanations of one topic.
type explainer struct {
	setting func(name string) *config.Setting
}

// errUnknownTopic: the broker's metadata has no such topic or partition.
var errUnknownTopic = errors.New("the cluster has no such topic or partition")

// explain explains the partitions of a topic in order; index -1: all of them.
func (b *Broker) explain(_ context.Context, topic string, index int32) ([]TierExplanation, error) {
	t, err := b.topicFor(topic, index)
	if err != nil {
		return nil, err
	}
	x := explainer{setting: func(name string) *config.Setting {
		s := b.config().TopicSetting(name, t.Configs)
		return &s
	}}
	all := []TierExplanation{}
	for i, p := range t.Partitions {
		if index >= 0 && int(index) != i {
			continue
		}
		e := TierExplanation{
			Topic: t.Name, Partition: int32(i), Leader: p.Leader, TieredEnd: -1, Segments: []SegmentExplanation{},
			CopyEveryMs: b.config().RemoteTaskInterval.Milliseconds(), RetentionEveryMs: b.config().RetentionCheckInterval.Milliseconds(),
		}
		if r, ok := b.replicas.all()[tiering.PartitionID{Topic: t.ID, Partition: int32(i)}]; ok && r.Offsets().Leader {
			e.Compaction = b.compaction(x, r)
			x.fill(&e, r.Explain(b.Now()))
		}
		all = append(all, e)
	}
	return all, nil
}

func (b *Broker) topicFor(name string, index int32) (*cluster.Topic, error) {
	t, ok := b.store.Image().Topic(name)
	if !ok || int(index) >= len(t.Partitions) {
		return nil, errUnknownTopic
	}
	return t, nil
}

// compaction is nil where the log is not compacted.
func (b *Broker) compaction(x explainer, r *replica) *CompactionState {
	if !r.Compacted() {
		return nil
	}
	cleanedTo, horizon, uncleanable := b.cleaner.knows(r)
	d := r.Dirtiness(cleanedTo, horizon, b.Now())
	s := &CompactionState{
		FirstDirty: d.FirstDirty, Bound: d.Bound, CleanBytes: d.CleanBytes, DirtyBytes: d.DirtyBytes, Ratio: d.Ratio(),
		Due: d.Due, OverdueMs: d.DelayMs,
		MinRatio: x.setting("min.cleanable.dirty.ratio"), MinLag: x.setting("min.compaction.lag.ms"), MaxLag: x.setting("max.compaction.lag.ms"),
	}
	if d.By != "" {
		s.By = x.setting(d.By)
	}
	switch {
	case !b.config().CleanerEnable:
		s.Held = "log.cleaner.enable is false"
	case uncleanable != nil:
		s.Held = uncleanable.Error()
	}
	return s
}

// knows is what the cleaner decides by besides the log itself. A log that cannot be
// compacted has the reason.
func (c *cleaner) knows(r *replica) (cleanedTo, horizon int64, uncleanable error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return r.dir.Cleaned(r.Topic(), r.ID().Partition), c.horizons[r], c.uncleanable[r]
}

// Compact is the action of a step that rewrites a segment without what later records
// replace.
const Compact = "compact"

// step is what compaction does to a segment; false where it does nothing.
func (c *CompactionState) step(s retention.Segment) (Step, bool) {
	if c == nil {
		return Step{}, false
	}
	step := Step{Action: Compact, Due: c.Due && c.Held == "", Setting: c.By, Held: c.Held}
	switch {
	case !s.Sealed:
		step.Due, step.Setting, step.Held = false, nil, string(retention.HeldActive)
	case s.Next > c.Bound:
		step.Due, step.Setting, step.Held = false, c.MinLag, "it is too young, or not all of it is stable"
	case c.Due:
	case s.Next <= c.FirstDirty:
		return Step{}, false // clean
	case step.Held == "":
		step.Setting, step.Held = c.MinRatio, fmt.Sprintf("the dirty ratio is %.2f", c.Ratio)
	}
	return step, true
}

func (x explainer) fill(to *TierExplanation, from partition.Explanation) {
	to.LogStart, to.LocalStart, to.End = from.LogStart, from.LocalStart, from.End
	to.HighWatermark, to.LastStable = from.HighWatermark, from.LastStable
	if from.Tiered {
		to.TieredEnd = from.TieredEnd
	}
	for _, s := range from.Segments {
		to.Segments = append(to.Segments, SegmentExplanation{
			Base: s.Segment.Base, Next: s.Segment.Next, Size: s.Size, MaxTimestamp: s.MaxTimestamp,
			Active: !s.Sealed, Where: where(s.Segment), Steps: x.steps(s, to.Compaction),
		})
	}
}

func where(s retention.Segment) string {
	switch {
	case s.Local && s.Tiered:
		return "both"
	case s.Tiered:
		return "bucket"
	default:
		return "local"
	}
}

// steps lists what happens to a segment: the sealing of the active one, its copy, and
// what the limits do, the one that comes first before the other.
func (x explainer) steps(s partition.Explained, c *CompactionState) []Step {
	var steps []Step
	if !s.Sealed {
		steps = append(steps, x.roll(s))
	}
	if step, ok := c.step(s.Segment); ok {
		steps = append(steps, step)
	}
	if s.Copy != "" && s.Copy != tiering.Copied {
		steps = append(steps, x.copy(s))
	}
	goes := retention.Expire
	if s.Action == retention.Withdraw {
		goes = retention.Withdraw
	}
	expire, expires := x.limit(goes, s.Expiry)
	trim, trims := x.limit(retention.Trim, s.Trim)
	if first, _ := s.Reason.Next(); trims && first != retention.Expire {
		steps = append(steps, trim)
	}
	if expires {
		steps = append(steps, expire)
	}
	return steps
}

func (x explainer) roll(s partition.Explained) Step {
	step := Step{Action: retention.Roll, Room: s.Room, RoomBy: x.setting("segment.bytes"), Setting: x.setting("segment.ms")}
	switch {
	case s.Action == retention.Roll:
		step.Due, step.At, step.Setting = true, s.Expiry.At, x.setting(s.Expiry.By)
	case !s.Rolls.IsZero():
		step.At = s.Rolls.UnixMilli()
	default:
		step.Setting = nil // it is empty: no age counts yet
	}
	return step
}

func (x explainer) copy(s partition.Explained) Step {
	step := Step{Action: partition.Copy, Setting: x.setting("remote.storage.enable"), Due: s.Copy == tiering.CopyNow}
	switch s.Copy {
	case tiering.CopyNow:
	case tiering.WaitBound:
		step.Held = "it ends above the " + string(s.Bound)
	default:
		step.Held = "it waits for " + string(s.Copy)
	}
	return step
}

// limit is what a pair of limits does; false where it does nothing.
func (x explainer) limit(action string, v retention.Verdict) (Step, bool) {
	step := Step{Action: action, Due: v.Due && v.Held == "", At: v.At, Held: string(v.Held)}
	switch {
	case v.By == retention.ByLogStart:
		step.Cause = v.By
	case v.By != "":
		step.Setting = x.setting(v.By)
	}
	if v.RoomBy != "" && !v.Due {
		step.Room, step.RoomBy = v.Room, x.setting(v.RoomBy)
	}
	return step, v.By != "" || v.Held != ""
}

// Rehearsal is what GET /tier/rehearse says of one partition: what a change of the
// topic's settings would touch at once.
type Rehearsal struct {
	Topic     string           `json:"topic"`
	Partition int32            `json:"partition"`
	Leader    int32            `json:"leader"` // the broker to ask, where it is not this one
	Here      bool             `json:"here"`   // this broker leads; without it the rest is empty
	Touched   []Touched        `json:"touched"`
	Requests  tiering.Requests `json:"requests"` // to the bucket
	Error     string           `json:"error,omitempty"`
}

// Touched is one segment that the change touches.
type Touched struct {
	Base    int64           `json:"base"`
	Next    int64           `json:"next"`
	Size    int64           `json:"size"`   // bytes
	Action  string          `json:"action"` // roll, copy, trim, expire
	Bucket  bool            `json:"bucket"` // an object is written or deleted
	Setting *config.Setting `json:"setting,omitempty"`
	Anyway  bool            `json:"anyway"` // it happens without the change, too
}

// rehearse says what a change of a topic's settings would touch. The change is checked as
// the real one would be; the error is then the same.
func (b *Broker) rehearse(ctx context.Context, topic string, ops []config.Op) ([]Rehearsal, error) {
	t, err := b.topicFor(topic, -1)
	if err != nil {
		return nil, err
	}
	configs, err := b.config().AlterTopic(t.Configs, ops)
	if err != nil {
		return nil, err
	}
	before, _ := config.StoredTopic(b.config().Topic, t.Configs)
	after, err := config.TopicConfig(t.Name, b.config().Topic, configs)
	if err != nil {
		return nil, err
	}
	if err := config.CheckTopicChange(before, after, func() (bool, error) { return b.inBucket(ctx, t) }); err != nil {
		return nil, err
	}
	all := []Rehearsal{}
	for i, p := range t.Partitions {
		one := Rehearsal{Topic: t.Name, Partition: int32(i), Leader: p.Leader, Touched: []Touched{}}
		if r, ok := b.replicas.all()[tiering.PartitionID{Topic: t.ID, Partition: int32(i)}]; ok && r.Offsets().Leader {
			one.Here = true
			if err := one.fill(ctx, b, r, before, after, configs); err != nil {
				one.Error = err.Error()
			}
		}
		all = append(all, one)
	}
	return all, nil
}

// inBucket tells whether records of a topic are in the bucket. Where another broker leads,
// that one is to be asked.
func (b *Broker) inBucket(ctx context.Context, t *cluster.Topic) (bool, error) {
	replicas := b.replicas.all()
	return partition.AnyInBucket(ctx, len(t.Partitions), func(index int32) (*partition.Partition, error) {
		if r, ok := replicas[tiering.PartitionID{Topic: t.ID, Partition: index}]; ok {
			return r.Partition, nil
		}
		return nil, partition.ErrNotLeader
	})
}

func (r *Rehearsal) fill(ctx context.Context, b *Broker, p *replica, before, after config.Topic, configs map[string]string) error {
	now := b.Now()
	anyway, err := p.Rehearse(ctx, before, now)
	if err != nil {
		return fmt.Errorf("rehearse the settings as they are: %w", err)
	}
	changed, err := p.Rehearse(ctx, after, now)
	if err != nil {
		return fmt.Errorf("rehearse the change: %w", err)
	}
	anyway.Effects = append(anyway.Effects, b.compacts(p, before)...)
	changed.Effects = append(changed.Effects, b.compacts(p, after)...)
	for _, e := range changed.Effects {
		touched := Touched{
			Base: e.Base, Next: e.Next, Size: e.Size, Action: e.Action, Bucket: e.Action == partition.Copy || e.Action == retention.Withdraw || e.Action == retention.Expire && e.Tiered,
			Anyway: slices.ContainsFunc(anyway.Effects, func(o retention.Effect) bool { return o.Base == e.Base && o.Action == e.Action }),
		}
		if e.By != retention.ByLogStart {
			s := b.config().TopicSetting(e.By, configs)
			touched.Setting = &s
		}
		r.Touched = append(r.Touched, touched)
	}
	slices.SortStableFunc(r.Touched, func(x, y Touched) int { return cmp.Compare(x.Base, y.Base) })
	r.Requests = changed.Requests
	return nil
}

// compacts lists the segments that a pass of compaction rewrites under some settings, if
// one is due now.
func (b *Broker) compacts(r *replica, c config.Topic) []retention.Effect {
	cleanedTo, horizon, uncleanable := b.cleaner.knows(r)
	if !r.CompactedUnder(c) || uncleanable != nil || !b.config().CleanerEnable {
		return nil
	}
	d := r.DirtinessUnder(c, cleanedTo, horizon, b.Now())
	if !d.Due {
		return nil
	}
	var effects []retention.Effect
	for _, s := range r.Explain(b.Now()).Segments {
		if x := s.Segment; x.Sealed && x.Next <= d.Bound {
			effects = append(effects, retention.Effect{Base: x.Base, Next: x.Next, Size: x.Size, Action: Compact, By: d.By})
		}
	}
	return effects
}
