// Package adopt makes a data directory of Varve out of the log directories that a stopped
// Apache Kafka broker (KRaft) has left: topics with their ids and configs, partitions with
// every record where it was, leader epochs, producer state, log starts, groups and share
// state, which are records of internal topics, and what administrators have set.
//
// It decides first and does then. Survey reads everything, every byte of every log, and
// says what is adopted, what is left out and why, and what stands in the way; nothing is
// written while anything does. Carry out puts a new directory together beside its final
// place and renames it there as the last step:
//
//	DIR.adopting/adoption.json       what is adopted from where: the claim
//	            /<topic>-<p>.part/   a log under way, made anew after a crash
//	            /<topic>-<p>/        a whole log, durable; not touched again
//	            /metadata/           topics, in etcd
//	            /meta.properties ..  checkpoints, the mark of a clean stop
//	DIR/                             renamed: adopted
//
// A crash at any step leaves the original as it was, and Carry out goes on where it was
// when it is asked for the same again.
//
// The original is never written to. Sealed log files are hard-linked where the file system
// can: nobody changes them in place again, neither Kafka nor we, so a terabyte is adopted
// in the time it takes to read it, and costs no space twice. All else is copied: the last
// segment, to which both would append, and what is small. Moving the files would be as
// quick, and leave nothing to go back to.
package adopt
