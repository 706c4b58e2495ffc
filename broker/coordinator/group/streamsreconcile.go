package group

// taskReconciliation brings what a member owns closer to its target.
type taskReconciliation struct {
	member      *streamsMember
	targetEpoch int32
	target      taskSet
	owners      *taskOwners
	reported    *taskSet // what the member says that it owns; nil: it does not say
}

// next is the member as it goes on from here, the member itself where nothing changes.
func (r taskReconciliation) next() *streamsMember {
	m := r.member
	switch m.state {
	case streamsStable:
		if m.epoch == r.targetEpoch {
			return m
		}
		return r.toTarget(m.epoch)
	case streamsUnrevokedTasks:
		// What was to be revoked is revoked once the member no longer reports it.
		if r.reported == nil || r.reported.meets(m.revoking.taskSet) {
			return m
		}
		return r.toTarget(m.epoch + 1)
	case streamsUnreleasedTasks:
		return r.toTarget(m.epoch)
	}
	return r.toTarget(r.targetEpoch) // a state of a later version: the caller has fenced who owns anything
}

// toTarget keeps what is in the target, has the rest revoked first, and then adds what
// is free. A task is, in a role, where nobody processes it, for an active one, and the
// member's process has it in no other role: two tasks of a process share a directory.
func (r taskReconciliation) toTarget(epoch int32) *streamsMember {
	m := r.member
	free := func(x task, active bool) bool {
		owner, owned := r.owners.active[x]
		if active && owned {
			return false
		}
		return (!owned || r.owners.process[owner] != m.process) && !r.owners.copied(x, m.process)
	}
	active := split(m.assigned.active, r.target.active, func(x task) bool { return free(x, true) })
	standby := split(m.assigned.standby, r.target.standby, func(x task) bool { return free(x, false) })
	warmup := split(m.assigned.warmup, r.target.warmup, func(x task) bool { return free(x, false) })
	revoking := taskSet{active.revoked, standby.revoked, warmup.revoked}
	if !revoking.empty() && (r.reported == nil || r.reported.meets(revoking)) {
		next := m.advanced(epoch)
		next.state = streamsUnrevokedTasks
		next.assigned = newHolding(taskSet{active.kept, standby.kept, warmup.kept}, m.assigned.epochs, r.targetEpoch)
		next.revoking = newHolding(revoking, m.assigned.epochs, epoch)
		return next
	}
	next := m.advanced(r.targetEpoch)
	next.state = streamsStable
	if active.waiting || standby.waiting || warmup.waiting {
		next.state = streamsUnreleasedTasks
	}
	next.assigned = newHolding(taskSet{active.with(), standby.with(), warmup.with()}, m.assigned.epochs, r.targetEpoch)
	next.revoking = newHolding(taskSet{}, nil, 0)
	return next
}

// advanced is the member in an epoch, another one or the same, as consumerMember has it.
func (m *streamsMember) advanced(epoch int32) *streamsMember {
	next := *m
	next.previous, next.epoch = m.epoch, epoch
	return &next
}

// difference is what is to be done with tasks of one role.
type difference struct {
	kept, revoked, added tasks
	waiting              bool // some of the target are not free yet
}

func split(current, target tasks, free func(task) bool) (d difference) {
	var kept, revoked, added []task
	for _, x := range current.all() {
		if target.has(x) {
			kept = append(kept, x)
		} else {
			revoked = append(revoked, x)
		}
	}
	for _, x := range target.all() {
		switch {
		case current.has(x):
		case free(x):
			added = append(added, x)
		default:
			d.waiting = true
		}
	}
	d.kept, d.revoked, d.added = tasksOf(kept), tasksOf(revoked), tasksOf(added)
	return d
}

// with is what is kept and what is added.
func (d *difference) with() tasks { return tasksOf(append(d.kept.all(), d.added.all()...)) }
