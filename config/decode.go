package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// decoder walks a syntax tree beside the structs, and notes where each value
// stands and what is wrong with it: the library's own decoder knows neither duplicates
// nor columns.
type decoder struct {
	origin   *origin
	problems Problems
}

func (d *decoder) bad(n *yaml.Node, path, message, cure string) {
	d.problems = append(d.problems, Problem{File: d.origin.file, Line: n.Line, Column: n.Column,
		Path: path, Message: message, Cure: cure})
}

func (d *decoder) wrong(n *yaml.Node, path, want string) {
	d.bad(n, path, fmt.Sprintf("%s is wanted, here is %s", want, kindOf(n)), "")
}

// value reads n into v. An empty node keeps what v holds: its default.
func (d *decoder) value(n *yaml.Node, path string, v reflect.Value) {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		d.bad(n, path, "anchors and aliases are not supported", "write the value itself")
		return
	case n.Style&yaml.TaggedStyle != 0:
		d.bad(n, path, "tags are not supported", "write the value itself")
		return
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		return
	}
	switch p := v.Addr().Interface().(type) {
	case *time.Duration:
		scalar(d, n, path, p, "a duration such as 90s", parseDuration)
	case *Size:
		scalar(d, n, path, p, "a size such as 10GiB", ParseSize)
	case *Space:
		scalar(d, n, path, p, "a share such as 5% or a size such as 10GiB", ParseSpace)
	case *string:
		d.text(n, path, p)
	case *bool:
		if n.Tag == "!!bool" && n.Kind == yaml.ScalarNode {
			*p = strings.EqualFold(n.Value, "true")
		} else {
			d.wrong(n, path, "true or false")
		}
	case *int:
		d.integer(n, path, p)
	case *[]string:
		d.list(n, path, p)
	case *map[string]time.Duration:
		d.durations(n, path, *p)
	default:
		d.section(n, path, v)
	}
}

// entries calls each for every key of a mapping, and notes duplicates.
func (d *decoder) entries(n *yaml.Node, path string, each func(path string, key, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		d.wrong(n, path, "a section of keys")
		return
	}
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch line, seen := first[key.Value]; {
		case key.Kind != yaml.ScalarNode || key.Style&yaml.TaggedStyle != 0 || key.Anchor != "":
			d.bad(key, path, "a key is wanted, here is "+kindOf(key), "")
		case key.Tag == "!!merge":
			d.bad(key, path, "merge keys are not supported", "write the keys themselves")
		case seen:
			d.bad(key, join(path, key.Value), fmt.Sprintf("the key is here a second time, it was on line %d", line), "keep one")
		default:
			first[key.Value] = key.Line
			each(join(path, key.Value), key, value)
		}
	}
}

// section reads a mapping into a struct.
func (d *decoder) section(n *yaml.Node, path string, v reflect.Value) {
	d.entries(n, path, func(p string, key, value *yaml.Node) {
		field, ok := fieldOf(v, key.Value)
		if !ok {
			cure := "remove it"
			if near := nearest(key.Value, keysOf(v.Type())); near != "" {
				cure = fmt.Sprintf("did you mean %s?", join(path, near))
			}
			d.bad(key, p, "unknown key", cure)
			return
		}
		d.note(p, key, value)
		d.value(value, p, field)
	})
}

// note remembers where a value stands; that of a section is its key.
func (d *decoder) note(path string, key, value *yaml.Node) {
	n := value
	if value.Kind == yaml.MappingNode || value.Tag == "!!null" {
		n = key
	}
	d.origin.at[path] = position{n.Line, n.Column}
}

func (d *decoder) durations(n *yaml.Node, path string, into map[string]time.Duration) {
	d.entries(n, path, func(p string, key, value *yaml.Node) {
		d.note(p, key, value)
		one := time.Duration(-1)
		d.value(value, p, reflect.ValueOf(&one).Elem())
		into[key.Value] = one
	})
}

func (d *decoder) list(n *yaml.Node, path string, into *[]string) {
	if n.Kind != yaml.SequenceNode {
		d.wrong(n, path, "a list such as [a, b]")
		return
	}
	out := make([]string, len(n.Content))
	for i, item := range n.Content {
		p := fmt.Sprintf("%s[%d]", path, i)
		d.note(p, item, item)
		d.text(item, p, &out[i])
	}
	*into = out
}

func (d *decoder) text(n *yaml.Node, path string, into *string) {
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!str" && n.Anchor == "":
		*into = n.Value
	case n.Kind == yaml.ScalarNode && n.Tag != "!!null":
		d.bad(n, path, "text is wanted, here is "+kindOf(n), "put it in quotes")
	default:
		d.wrong(n, path, "text")
	}
}

func (d *decoder) integer(n *yaml.Node, path string, into *int) {
	v, err := strconv.ParseInt(n.Value, 10, 32)
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || err != nil {
		d.wrong(n, path, "a whole number")
		return
	}
	*into = int(v)
}

// scalar reads a value that has a parser of its own from text or a bare number.
func scalar[T any](d *decoder, n *yaml.Node, path string, into *T, want string, parse func(string) (T, error)) {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" && n.Tag != "!!int" && n.Tag != "!!float" {
		d.wrong(n, path, want)
		return
	}
	v, err := parse(n.Value)
	if err != nil {
		d.bad(n, path, fmt.Sprintf("%q: %v", n.Value, err), "write "+want)
		return
	}
	*into = v
}

func parseDuration(text string) (time.Duration, error) {
	v, err := time.ParseDuration(text)
	if err != nil {
		if _, number := strconv.ParseFloat(text, 64); number == nil {
			return 0, fmt.Errorf("a unit is missing")
		}
		return 0, fmt.Errorf("not a duration")
	}
	return v, nil
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// kindOf names what a node is, for a person.
func kindOf(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.MappingNode:
		return "a section of keys"
	case n.Kind == yaml.AliasNode:
		return "an alias"
	case n.Tag == "!!null":
		return "nothing"
	case n.Tag == "!!int" || n.Tag == "!!float":
		return "the number " + n.Value
	case n.Tag == "!!str":
		return fmt.Sprintf("the text %q", n.Value)
	default:
		return n.Value
	}
}
