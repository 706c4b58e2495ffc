package group

import "strings"

// Replay makes groups from the records of one partition, in the order of the log.
type Replay struct {
	limits *Limits
	groups map[string]*Group
	open   map[int64]map[string]struct{} // producer id → groups with offsets of its open transaction
}

// NewReplay begins with no groups.
func NewReplay(limits *Limits) *Replay {
	return &Replay{limits: limits, groups: map[string]*Group{}, open: map[int64]map[string]struct{}{}}
}

// Record applies a record at an offset of the log. producerID is that of a
// transactional batch, else -1: such offsets count once the transaction is committed.
// Records of unknown types are skipped; ErrRecord means that one of ours is damaged.
func (p *Replay) Record(offset, producerID int64, recordKey, value []byte) error {
	k, ok, err := decodeKey(recordKey)
	if err != nil || !ok {
		return err
	}
	if k.metadata {
		return p.metadata(k.group, value)
	}
	switch {
	case k.state.streams():
		return p.streams(k, value)
	case k.state.share():
		return p.share(k, value)
	case k.state.kind != 0:
		return p.consumer(k, value)
	}
	if value == nil {
		if g := p.groups[k.group]; g != nil {
			g.offsets.remove(k.tp)
			for _, pending := range g.txn {
				delete(pending, k.tp)
			}
		}
		return nil
	}
	o, err := decodeOffset(value)
	if err != nil {
		return err
	}
	o.record = offset
	g := p.group(k.group)
	g.order = offset
	if producerID == -1 {
		g.offsets.put(k.tp, o)
	} else {
		g.putPending(producerID, k.tp, o)
		if p.open[producerID] == nil {
			p.open[producerID] = map[string]struct{}{}
		}
		p.open[producerID][g.id] = struct{}{}
	}
	return nil
}

// EndTransaction applies a marker: the producer's offsets count, or are forgotten.
func (p *Replay) EndTransaction(producerID int64, commit bool) {
	for id := range p.open[producerID] {
		p.groups[id].EndTransaction(producerID, commit)
	}
	delete(p.open, producerID)
}

// consumer applies a record of a group of the consumer protocol.
func (p *Replay) consumer(k key, value []byte) error {
	g := p.groups[k.group]
	if value == nil && (g == nil || g.consumer == nil) {
		return nil
	}
	g = p.group(k.group)
	if g.consumer == nil {
		g.consumer = newConsumerGroup()
	}
	if value == nil && k.state.kind == keyEpoch { // the last of a group's tombstones
		g.consumer = nil
		return nil
	}
	return g.consumer.state.replay(k.state, value)
}

// streams applies a record of a group of the streams protocol.
func (p *Replay) streams(k key, value []byte) error {
	g := p.groups[k.group]
	if value == nil && (g == nil || g.streams == nil) {
		return nil
	}
	g = p.group(k.group)
	if g.streams == nil {
		g.streams = newStreamsGroup()
	}
	if value == nil && k.state.kind == keyStreamsEpoch { // of a group that has no member left
		g.streams = nil
		return nil
	}
	return g.streams.state.replay(k.state, value)
}

// share applies a record of a share group.
func (p *Replay) share(k key, value []byte) error {
	g := p.groups[k.group]
	if value == nil && (g == nil || g.share == nil) {
		return nil
	}
	g = p.group(k.group)
	if g.share == nil {
		g.share = newShareGroup()
	}
	if value == nil && k.state.kind == keyShareEpoch { // the last of a group's tombstones
		g.share = nil
		return nil
	}
	return g.share.state.replay(k.state, value)
}

// loaded makes a state of records the group's. Members of whom there is only a part
// are none: the rest of them was removed.
func (c *consumerGroup) loaded(now, session int64) {
	s := c.state
	for id, m := range s.members {
		if m.topics == nil {
			delete(s.members, id)
		}
	}
	for id := range s.target {
		if s.members[id] == nil {
			delete(s.target, id)
		}
	}
	c.state = newConsumerState()
	c.install(s)
	c.watch(now, session)
}

// Groups ends the replay. Sessions of all members begin now.
func (p *Replay) Groups(now int64) map[string]*Group {
	for id, g := range p.groups {
		if g.consumer != nil {
			g.consumer.loaded(now, p.limits.settings(id).SessionTimeout)
		}
		if g.streams != nil {
			g.streams.loaded(now, p.limits.streamsSettings(id).SessionTimeout)
		}
		if g.share != nil {
			g.share.loaded(now, p.limits.shareSettings(id).SessionTimeout)
		}
		for _, m := range g.inOrder() {
			g.extend(m, now+int64(m.sessionTimeout))
		}
		if g.Gone() {
			delete(p.groups, id)
		}
	}
	return p.groups
}

// Loaded removes offsets of topics that are gone, and rebalances a group that has become
// larger than group.max.size allows.
func (g *Group) Loaded(now int64) Output {
	var out Output
	g.dropOutlived(now, &out)
	if len(g.members) > g.maxSize() {
		g.prepareRebalance(now, &out)
	}
	return out
}

func (p *Replay) group(id string) *Group {
	g := p.groups[id]
	if g == nil {
		g = New(strings.Clone(id), p.limits, -1)
		p.groups[g.id] = g
	}
	return g
}

// metadata replaces a group's membership by the one stored. Its offsets stay: they
// have tombstones of their own.
func (p *Replay) metadata(id string, value []byte) error {
	before := p.group(id)
	g := New(before.id, p.limits, -1)
	g.offsets, g.txn, g.order = before.offsets, before.txn, before.order
	if value == nil {
		g.consumer, g.streams, g.share = before.consumer, before.streams, before.share // what an upgrade removes is the classic group
	} else {
		v, err := decodeMetadata(value)
		if err != nil {
			return err
		}
		g.restore(v)
	}
	p.groups[g.id] = g
	return nil
}

func (g *Group) restore(v *membership) {
	g.persisted = true
	g.generation = v.generation
	g.since = v.since
	g.protocolName = v.protocol
	for _, m := range v.members {
		if g.members[m.id] == nil { // whoever wrote an id twice meant one member
			g.add(m, v.protocolType)
		}
	}
	g.protocolType = v.protocolType
	g.leader = ""
	if v.leader != nil {
		g.leader = *v.leader
	}
	if len(g.members) > 0 {
		g.state = Stable
	}
}
