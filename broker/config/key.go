package config

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Key is a row of the table.
type Key struct {
	Name      string
	Type      Type
	Default   string // as in a file; see NoDefault
	NoDefault bool   // Kafka's default is null
	Doc       string // one sentence
	Topic     bool   // may be set on a topic
	Broker    bool   // may be set on the broker
	Dynamic   bool   // may be altered while the broker runs
	PerBroker bool   // if so for one broker only, not for all
	Sensitive bool   // never shown

	// BrokerKey is, for a topic key, the broker key that is its default, and Synonyms all
	// of them in Kafka's order of precedence.
	BrokerKey string
	Synonyms  []Synonym

	Enforcement Enforcement
	Why         string // unless it is Enforced: the reason, a clause

	perListener bool // may be altered only with a listener's name before it

	bounded  bool    // numbers: within min and max
	min, max float64 // exact below 2^53; max above that is no bound
	oneOf    []string
	check    func(value string) string // further rule: what is wrong, or ""
	unit     time.Duration             // of a number that is kept as a time.Duration
	broker   func(*Broker) any         // where it goes: a pointer
	topic    func(*Topic) any
}

// Synonym is a broker key whose value, times Factor, is the default of a topic key.
type Synonym struct {
	Name   string
	Factor int64
}

// Enforcement says what setting a key does.
type Enforcement int8

// What setting a key does.
const (
	Enforced    Enforcement = iota // it acts
	NoEffect                       // accepted with a notice: there is nothing here to set
	DefaultOnly                    // refused unless it is the default: not enforced yet
	Dormant                        // refused at the start, where it would be relied on; kept when altered, as there is nothing to act on
)

// Type is a config's type, numbered as in DescribeConfigs.
type Type int8

// Types of the Kafka protocol.
const (
	Boolean Type = iota + 1
	String
	Int
	Short
	Long
	Double
	List
	Class
	Password
)

func (t Type) String() string {
	return [...]string{"unknown", "boolean", "string", "int", "short", "long", "double", "list", "class", "password"}[t]
}

// parse checks a value and returns it as DescribeConfigs shows it. reason is what is
// wrong with it, in Kafka's words, or "".
func (k *Key) parse(value string) (canonical, reason string) {
	if k.Type != Password {
		value = strings.TrimSpace(value)
	}
	switch k.Type {
	case Boolean:
		value = strings.ToLower(value)
		if value != "true" && value != "false" {
			return "", "Expected value to be either true or false"
		}
	case Short, Int, Long:
		n, err := strconv.ParseInt(value, 10, map[Type]int{Short: 16, Int: 32, Long: 64}[k.Type])
		if err != nil {
			return "", "Not a number of type " + strings.ToUpper(k.Type.String())
		}
		if reason := k.outside(float64(n)); reason != "" {
			return "", reason
		}
		value = strconv.FormatInt(n, 10)
	case Double:
		n, err := strconv.ParseFloat(value, 64)
		if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
			return "", "Not a number of type DOUBLE"
		}
		if reason := k.outside(n); reason != "" {
			return "", reason
		}
	case List:
		value = strings.Join(splitList(value), ",")
	}
	if k.oneOf != nil {
		values := []string{value}
		if k.Type == List {
			values = splitList(value)
		}
		for _, v := range values {
			if !contains(k.oneOf, v) {
				return "", "String must be one of: " + strings.Join(k.oneOf, ", ")
			}
		}
	}
	if k.check != nil {
		if reason := k.check(value); reason != "" {
			return "", reason
		}
	}
	return value, ""
}

// outside says how n is out of range, "" if it is not.
func (k *Key) outside(n float64) string {
	switch {
	case !k.bounded:
		return ""
	case n < k.min:
		return "Value must be at least " + strconv.FormatFloat(k.min, 'f', -1, 64)
	case n > k.max:
		return "Value must be no more than " + strconv.FormatFloat(k.max, 'f', -1, 64)
	}
	return ""
}

// rendered is a canonical value as DescribeConfigs tells it: numbers as Java writes them.
func (k *Key) rendered(value string) string {
	n, err := strconv.ParseFloat(value, 64)
	if k.Type != Double || err != nil {
		return value
	}
	whole := func(s string) string {
		if strings.Contains(s, ".") {
			return s
		}
		return s + ".0"
	}
	if size := math.Abs(n); size == 0 || 1e-3 <= size && size < 1e7 {
		return whole(strconv.FormatFloat(n, 'f', -1, 64))
	}
	digits, exponent, _ := strings.Cut(strconv.FormatFloat(n, 'E', -1, 64), "E")
	return whole(digits) + "E" + strings.TrimLeft(strings.Replace(exponent, "-0", "-", 1), "+0")
}

// store puts a canonical value where it goes. The value has been parsed before.
func (k *Key) store(into any, value string) {
	integer := func() int64 {
		n, _ := strconv.ParseInt(value, 10, 64) // parse has accepted it
		return n
	}
	switch p := into.(type) {
	case *bool:
		*p = value == "true"
	case *string:
		*p = value
	case *[]string:
		*p = splitList(value)
	case *int16:
		*p = int16(integer())
	case *int32:
		*p = int32(integer())
	case *int:
		*p = int(integer())
	case *int64:
		*p = integer()
	case *float64:
		*p, _ = strconv.ParseFloat(value, 64) // parse has accepted it
	case *time.Duration:
		*p = duration(integer(), k.unit)
	default:
		panic("config: no place for " + k.Name)
	}
}

// duration is n units; what no Duration can hold is the longest there is, and negative
// numbers, which stand for "never" and the like, stay negative.
func duration(n int64, unit time.Duration) time.Duration {
	if n > math.MaxInt64/int64(unit) {
		return math.MaxInt64
	}
	return time.Duration(n) * unit
}

// rangeText is the range as the documentation has it.
func (k *Key) rangeText() string {
	switch {
	case k.oneOf != nil:
		return strings.Join(k.oneOf, ", ")
	case k.bounded && k.max >= 1<<53:
		return "from " + strconv.FormatFloat(k.min, 'f', -1, 64)
	case k.bounded:
		return strconv.FormatFloat(k.min, 'f', -1, 64) + " to " + strconv.FormatFloat(k.max, 'f', -1, 64)
	}
	return ""
}

// splitList splits a list at its commas; an empty value is an empty list.
func splitList(value string) []string {
	if strings.TrimSpace(value) == "" {
		return nil
	}
	parts := strings.Split(value, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

func contains(all []string, one string) bool {
	for _, s := range all {
		if s == one {
			return true
		}
	}
	return false
}
