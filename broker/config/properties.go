package config

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// property is one key and value of a file.
type property struct {
	key, value string
	line       int // where it begins, from 1
}

// maxPropertiesBytes bounds a file: Kafka's longest example has 10 KiB.
const maxPropertiesBytes = 1 << 20

// parseProperties reads a file in the format of java.util.Properties, in UTF-8:
//
//	# comment           ! comment
//	key=value           key: value          key value
//	long = begins here, \
//	       goes on without the blanks before it
//	escapes: \t \n \r \f \uXXXX \\ and \ before anything else, such as = : # and blanks
//
// A later line of a key replaces an earlier one; both are returned, in order. A line
// without a key is an error, since no setting has an empty name.
func parseProperties(r io.Reader) ([]property, error) {
	content, err := io.ReadAll(io.LimitReader(r, maxPropertiesBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read properties: %w", err)
	}
	if len(content) > maxPropertiesBytes {
		return nil, fmt.Errorf("read properties: file is larger than %d bytes", maxPropertiesBytes)
	}
	if !utf8.Valid(content) {
		return nil, fmt.Errorf("read properties: file is not in UTF-8")
	}
	var all []property
	text := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(content))
	lines := bufio.NewScanner(strings.NewReader(text))
	lines.Buffer(nil, maxPropertiesBytes+1)
	for n := 1; lines.Scan(); n++ {
		begin := n
		logical := strings.TrimLeft(lines.Text(), " \t\f")
		if logical == "" || logical[0] == '#' || logical[0] == '!' {
			continue
		}
		var whole strings.Builder
		for endsInEscape(logical) {
			whole.WriteString(logical[:len(logical)-1])
			logical = ""
			if !lines.Scan() {
				break
			}
			n++
			logical = strings.TrimLeft(lines.Text(), " \t\f")
		}
		whole.WriteString(logical)
		p, err := parseProperty(whole.String())
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", begin, err)
		}
		if p.key == "" {
			return nil, fmt.Errorf("line %d: there is no name of a setting before its value", begin)
		}
		p.line = begin
		all = append(all, p)
	}
	return all, lines.Err()
}

// endsInEscape says whether a line goes on in the next: an odd number of backslashes.
func endsInEscape(line string) bool {
	return (len(line)-len(strings.TrimRight(line, `\`)))%2 == 1
}

// parseProperty splits a logical line at the first =, : or blank that is not escaped.
func parseProperty(line string) (property, error) {
	end := len(line)
	for i := 0; i < len(line); i++ {
		if line[i] == '\\' {
			i++
			continue
		}
		if strings.IndexByte("=: \t\f", line[i]) >= 0 {
			end = i
			break
		}
	}
	rest := strings.TrimLeft(line[end:], " \t\f")
	if rest != "" && (rest[0] == '=' || rest[0] == ':') {
		rest = strings.TrimLeft(rest[1:], " \t\f")
	}
	key, err := unescape(line[:end])
	if err != nil {
		return property{}, err
	}
	value, err := unescape(rest)
	return property{key: key, value: value}, err
}

func unescape(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			if s[i] != '\\' {
				b.WriteByte(s[i])
			}
			continue
		}
		i++
		switch s[i] {
		case 't':
			b.WriteByte('\t')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 'f':
			b.WriteByte('\f')
		case 'u':
			if i+5 > len(s) {
				return "", fmt.Errorf(`\u needs four digits`)
			}
			r, err := strconv.ParseUint(s[i+1:i+5], 16, 16)
			if err != nil {
				return "", fmt.Errorf(`\u%s is no character`, s[i+1:i+5])
			}
			b.WriteRune(rune(r))
			i += 4
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), nil
}
