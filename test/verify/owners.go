package verify

import "cmp"

// shared checks C21: nobody is given a partition that another member was given in the same
// generation, or that another one commits offsets of later on. Who was thrown out, or died,
// had it no longer, whether or not it knew.
func shared(v *view, add report) {
	order := sorted(len(v.Owners), func(a, b int32) int {
		x, y := &v.Owners[a], &v.Owners[b]
		return cmp.Or(cmp.Compare(x.Partition, y.Partition), cmp.Compare(x.From, y.From))
	})
	same := func(a, b int32) bool { return v.Owners[a].Partition == v.Owners[b].Partition }
	groups(order, same, func(list []int32) {
		generations := map[int32]int32{} // to members
		var last *Owner                  // of the earlier ones, the one who used it last
		for _, i := range list {
			o := &v.Owners[i]
			if other, seen := generations[o.Generation]; seen && o.Generation != 0 && other != o.Member {
				add("partition %d was given to members %d and %d in generation %d", o.Partition, other, o.Member, o.Generation)
			}
			generations[o.Generation] = o.Member
			if last != nil && last.Member != o.Member && last.Used > o.From {
				add("partition %d was given to member %d at %d, and member %d used it at %d", o.Partition, o.Member, o.From, last.Member, last.Used)
			}
			if last == nil || o.Used > last.Used {
				last = o
			}
		}
	})
}
