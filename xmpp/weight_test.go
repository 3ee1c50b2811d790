package xmpp

import (
	"math/rand/v2"
	"testing"
)

// RFC 2782's choice among the weights 0, 10, 60 and 30, by the chi-square test.
// The random number is one of 0 to 100, of which only 0 selects the weight 0.
func TestWeights(t *testing.T) {
	const draws = 100_000
	r := rand.New(rand.NewPCG(1, 2))
	weights := []uint16{60, 0, 30, 10}
	chance := map[uint16]float64{0: 1. / 101, 10: 10. / 101, 60: 60. / 101, 30: 30. / 101}
	first := make(map[uint16]int)
	for range draws {
		var targets []target
		for _, w := range weights {
			targets = append(targets, target{host: string(rune('a' + w)), weight: w})
		}
		ordered := order(targets, r)
		if len(ordered) != len(weights) {
			t.Fatal(ordered)
		}
		first[ordered[0].weight]++
	}
	var chi float64
	for w, p := range chance {
		d := float64(first[w]) - p*draws
		chi += d * d / (p * draws)
	}
	if chi > 16.27 { // 3 degrees of freedom, p = 0.001
		t.Errorf("chi-square %.2f: %v", chi, first)
	}
}

// Without weights the order is random all the same.
func TestWithoutWeights(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	first := make(map[string]int)
	for range 3000 {
		first[order([]target{{host: "a"}, {host: "b"}, {host: "c"}}, r)[0].host]++
	}
	for _, host := range []string{"a", "b", "c"} {
		if n := first[host]; n < 900 || n > 1100 {
			t.Errorf("%v", first)
		}
	}
}
