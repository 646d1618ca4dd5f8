package main

import (
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// docs is read before a transcript changes the folder.
const docs = "../../docs/"

// strictSchema returns a schema of docs that takes no field which it does not describe: one that is added to the output
// must be described, too.
func strictSchema(name string) (*jsonschema.Schema, error) {
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.AssertFormat()
	for _, each := range [...]string{"check.schema.json", "trace.schema.json"} { // one refers to the other
		file, err := os.Open(docs + each)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		text, err := jsonschema.UnmarshalJSON(file)
		if err != nil {
			return nil, err
		}
		for _, definition := range text.(map[string]any)["$defs"].(map[string]any) {
			definition.(map[string]any)["additionalProperties"] = false
		}
		if err := compiler.AddResource(each, text); err != nil {
			return nil, err
		}
	}
	return compiler.Compile(name)
}

// valid holds the standard output of the last command to a schema.
func valid(ts *testscript.TestScript, fails bool, args []string) {
	schema, err := strictSchema(args[0])
	ts.Check(err)
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(ts.ReadFile("stdout")))
	ts.Check(err)
	if err := schema.Validate(value); (err != nil) != fails {
		ts.Fatalf("%v", err)
	}
}

// The schema refuses output with a field missing, another one, another type, and another word.
func TestSchemaIsStrict(t *testing.T) {
	schema, err := strictSchema("check.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	const (
		finding = `{"id":"no-server","severity":"broken","mapping":null,"text":"x",` +
			`"seen":null,"remedy":null,"keep":null,"undo":null}`
		report = `{"clean":false,"mappings":[],"host":[` + finding + `],"unprobed":null,"left":0}`
	)
	for _, c := range [...]struct {
		old, new string
		valid    bool
	}{
		{"", "", true},
		{`"left":0`, `"left":-1`, false},
		{`,"left":0`, ``, false},
		{`"left":0`, `"left":0,"more":1`, false},
		{`"undo":null`, `"undo":1`, false},
		{`"broken"`, `"bad"`, false},
		{`"no-server"`, `"No server"`, false},
	} {
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(strings.Replace(report, c.old, c.new, 1)))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(value); (err == nil) != c.valid {
			t.Errorf("%s in the place of %s: %v", c.new, c.old, err)
		}
	}
}
