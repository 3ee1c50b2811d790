package cmd

import (
	"slices"
	"strings"
	"testing"

	"xmppkit/cmd/flags"
	"xmppkit/cmd/help"

	"github.com/spf13/pflag"
)

// The help of a flag names each value that is completed.
func TestFlagValues(t *testing.T) {
	known := make(map[string]bool)
	for cmd := range help.All(testRoot()) {
		check := func(f *pflag.Flag) {
			for _, value := range valuesOf(f) {
				known[f.Name] = true
				value, _, _ = strings.Cut(value, "\t")
				if !strings.Contains(f.Usage, value) {
					t.Errorf("%s --%s: its help does not name %s", cmd.CommandPath(), f.Name, value)
				}
			}
		}
		cmd.PersistentFlags().VisitAll(check)
		cmd.LocalNonPersistentFlags().VisitAll(check)
	}
	for _, name := range []string{"tls", "type", "only"} {
		if !known[name] {
			t.Errorf("no command has --%s", name)
		}
	}
}

// What was cached came from others: what cannot be shown is not completed.
func TestCompletionsClean(t *testing.T) {
	got, _ := flags.Completions([]string{"juliet@example.org\tJuliet", "ju\u202e@example.org", "ju\n@example.org", "romeo@example.org"}, "ju")
	if !slices.Equal(got, []string{"juliet@example.org\tJuliet"}) {
		t.Errorf("got %q", got)
	}
}

// A name with a tab is not offered: a shell would insert a part of it.
func TestCompleteNames(t *testing.T) {
	if got, _ := completeNames([]string{"a", "a\tb", "ab c", "b"}, "a"); !slices.Equal(got, []string{"a", "ab c"}) {
		t.Errorf("%q", got)
	}
}
