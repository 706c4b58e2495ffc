package config

import "strings"

// unknown says what is the matter with a key that is not in the table of a scope.
func unknown(name string, topic bool) string {
	t := table()
	known, other, others := t.brokerByName, t.topicByName, "topics"
	if topic {
		known, other, others = t.topicByName, t.brokerByName, "the broker"
	}
	if k := other[name]; k != nil {
		s := name + " is a setting of " + others
		if !topic && k.BrokerKey != "" {
			s += "; its default for all topics is " + k.BrokerKey
		}
		if topic {
			for _, k := range t.topic {
				for _, synonym := range k.Synonyms {
					if synonym.Name == name {
						s += "; a topic's own is " + k.Name
					}
				}
			}
		}
		return s
	}
	if !topic && contains(kafkaOnly, name) {
		return notYet(name)
	}
	s := "Unknown setting " + name
	if topic {
		s = "Unknown topic config name: " + name
	}
	if near := nearest(name, known); near != "" {
		s += "; did you mean " + near + "?"
	}
	return s
}

// notYet says that a setting of Kafka's has nothing behind it yet.
func notYet(name string) string {
	return name + " is a setting of Apache Kafka that Varve does not have yet; take it out"
}

// nearest is the known name that takes the fewest changes to reach, "" if none is near: a
// third of the letters may differ.
func nearest[T any](name string, known map[string]T) string {
	best, least := "", max(2, len(name)/3)+1
	for k := range known {
		if len(k)-len(name) >= least || len(name)-len(k) >= least {
			continue
		}
		if d := distance(strings.ToLower(name), k); d < least || d == least && best != "" && k < best {
			best, least = k, d
		}
	}
	return best
}

// distance is how many letters must be put in, taken out, replaced or swapped with the
// next one to make b of a.
func distance(a, b string) int {
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, previous, current := rows[(i+2)%3], rows[i%3], rows[(i+1)%3]
		if i == 1 {
			previous = rows[1]
		}
		current[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			current[j] = min(previous[j]+1, current[j-1]+1, previous[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				current[j] = min(current[j], before[j-2]+1)
			}
		}
	}
	return rows[(len(a)+1)%3][len(b)]
}
