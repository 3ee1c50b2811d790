package xep

import (
	"fmt"
	"testing"
)

// Pages that come again are noticed, whatever the length of the circle and of the way into
// it; pages that do not are none.
func TestCircle(t *testing.T) {
	for tail := range 7 {
		for length := 1; length < 20; length++ {
			for name, page := range map[string]func(n, id int) (string, string){
				"both": func(_, id int) (string, string) { return fmt.Sprint(id), fmt.Sprint(id) },
				"last": func(n, id int) (string, string) { return fmt.Sprint(id), "" },
				"ids":  func(n, id int) (string, string) { return fmt.Sprint("fresh", n), fmt.Sprint(id) },
			} {
				var c Circle
				n := 0
				for ; n < 1000; n++ {
					if c.Closed(page(n, min(n, tail+(n-tail)%length))) {
						break
					}
				}
				if n <= tail || n > 3*(tail+length) {
					t.Errorf("%s, %d and then %d in a circle: noticed after %d pages", name, tail, length, n)
				}
			}
		}
	}
	var c Circle
	for n := range 10_000 {
		if c.Closed(fmt.Sprint("last", n), fmt.Sprint("id", n)) || c.Closed("", "") {
			t.Fatalf("page %d: a circle", n)
		}
	}
}
