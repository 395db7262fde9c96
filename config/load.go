package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"

	"go.yaml.in/yaml/v4"
)

// maxFile bounds a configuration file, in bytes.
const maxFile = 1 << 20

// Check finds the problems that only those who use the values can know of; each
// is made by Config.Problem.
type Check func(*Config) Problems

// Problem is one of the value at path, such as rebuild.preserve[1], with its
// place in the file.
func (c *Config) Problem(path, message, cure string) Problem {
	return c.origin.problem(path, message, cure)
}

// LoadFile is Load of the file at path.
func LoadFile(path string, also ...Check) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer func() { _ = f.Close() }()
	return Load(f, path, also...)
}

// Load reads a configuration over the defaults and validates it. The error is
// of type Problems, and holds all of them, where the text could be read; name
// stands for the file in there. Warnings are no errors: see Config.Warnings.
func Load(r io.Reader, name string, also ...Check) (*Config, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration %s: %w", name, err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("read configuration %s: more than %d bytes; is it the right file?", name, maxFile)
	}
	cfg := Default()
	cfg.origin = origin{file: name, at: map[string]position{}}
	problems, readable := cfg.parse(data)
	if cfg.Node.Name == "" {
		cfg.Node.Name = hostName()
	}
	if readable {
		problems = append(problems, without(cfg.check(), problems)...)
		for _, check := range also {
			problems = append(problems, without(check(cfg), problems)...)
		}
	}
	problems.sort()
	if err := problems.err(); err != nil {
		return nil, err
	}
	return cfg, nil
}

// parse reads the YAML into c; readable says that it is YAML at all.
func (c *Config) parse(data []byte) (problems Problems, readable bool) {
	d := decoder{origin: &c.origin}
	documents := yaml.NewDecoder(bytes.NewReader(data))
	for i := 0; ; i++ {
		var doc yaml.Node
		switch err := documents.Decode(&doc); {
		case errors.Is(err, io.EOF):
			return d.problems, true
		case err != nil:
			return append(d.problems, c.syntaxProblem(err)), false
		case i == 0 && doc.Content[0].Kind != yaml.MappingNode && doc.Content[0].Tag != "!!null":
			d.wrong(doc.Content[0], "", "a file of sections and keys")
			return d.problems, false
		case i == 0:
			d.value(doc.Content[0], "", reflect.ValueOf(c).Elem())
		case i == 1:
			d.bad(&doc, "", "a second document begins here, and would be ignored", "keep one document")
		}
	}
}

func (c *Config) syntaxProblem(err error) Problem {
	p := Problem{File: c.origin.file, Line: 1, Column: 1, Message: "not YAML: " + err.Error(),
		Cure: "check indentation, quotes and brackets from here upwards"}
	var e *yaml.LoadError
	if errors.As(err, &e) {
		p.Message = "not YAML: " + e.Message
		if e.ContextMark.Line > 0 && e.ContextMark.Line < e.Mark.Line {
			p.Message += fmt.Sprintf(", %s that began on line %d", e.ContextMsg, e.ContextMark.Line)
		}
		p.Line, p.Column = max(1, e.Mark.Line), max(1, e.Mark.Column)
	}
	return p
}

// without returns those of found whose path has no problem yet: a value that
// could not be read is not judged as well.
func without(found, known Problems) Problems {
	return slices.DeleteFunc(found, func(p Problem) bool {
		return slices.ContainsFunc(known, func(k Problem) bool {
			return k.Path == p.Path
		})
	})
}
