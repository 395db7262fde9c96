package config

import (
	"bufio"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const example = "../deploy/resilver.example.yaml"

// required are the keys without a default.
var required = []string{"cluster.name", "cluster.join"}

func TestExampleHasEveryKeyWithItsDefault(t *testing.T) {
	got, err := LoadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range allKeys() {
		if _, ok := got.origin.at[key]; !ok {
			t.Errorf("%s is not in the example", key)
		}
	}
	want := Default()
	want.Node.Name = hostName()
	if got.Cluster.Name == "" || len(got.Cluster.Join) == 0 {
		t.Error("the example lacks a required key")
	}
	want.Cluster.Name, want.Cluster.Join = got.Cluster.Name, got.Cluster.Join
	got.origin = origin{}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the example says\n%+v\nDefault says\n%+v", got, want)
	}
}

// An empty section and an empty file mean the defaults, so Default has to name
// what the example shows: the other way round.
func TestEveryDefaultIsInTheExample(t *testing.T) {
	f, err := os.Open(example)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var keys, path []string
	line := regexp.MustCompile(`^( *)([a-z_]+): *([^#]*?) *(#.*)?$`)
	for s := bufio.NewScanner(f); s.Scan(); {
		m := line.FindStringSubmatch(s.Text())
		if m == nil {
			continue
		}
		depth := len(m[1]) / 2
		path = append(path[:depth:depth], m[2])
		if m[3] == "" {
			continue // a section
		}
		key := strings.Join(path, ".")
		keys = append(keys, key)
		if len(m[4]) < 5 {
			t.Errorf("%s has no comment", key)
		}
	}
	if !slices.Equal(keys, allKeys()) {
		t.Errorf("the example has the keys\n%v\nthe structs\n%v", keys, allKeys())
	}
	for _, key := range required {
		if !slices.Contains(keys, key) {
			t.Errorf("required key %s does not exist", key)
		}
	}
}

// allKeys are the paths of every key that has a value of its own, in the
// order of the reference file.
func allKeys() []string { return leaves(reflect.TypeFor[Config](), "") }

func leaves(t reflect.Type, path string) []string {
	var out []string
	for i := range t.NumField() {
		f := t.Field(i)
		name, ok := f.Tag.Lookup("yaml")
		if !ok {
			continue
		}
		if f.Type.Kind() == reflect.Struct && f.Type != reflect.TypeFor[Space]() {
			out = append(out, leaves(f.Type, join(path, name))...)
		} else {
			out = append(out, join(path, name))
		}
	}
	return out
}
