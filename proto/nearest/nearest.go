// Package nearest finds the name that was meant by one that nothing is called.
package nearest

import "strings"

// Name returns the known name that was probably meant: at most two letters away, or a third of the name's, whatever the
// case. It is empty if none is that near.
func Name(name string, known []string) string {
	best, limit := "", 1+max(2, len(name)/3)
	for _, candidate := range known {
		d := distance(strings.ToLower(name), strings.ToLower(candidate))
		if d < limit && d < len(candidate) { // at its whole length they have nothing in common
			best, limit = candidate, d
		}
	}
	return best
}

// distance is Levenshtein's: how many letters are inserted, deleted or substituted between a and b.
func distance(a, b string) int {
	to := []rune(b)
	row := make([]int, len(to)+1) // from the letters of a so far to each beginning of b
	for i := range row {
		row[i] = i
	}
	for i, from := range []rune(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j, letter := range to {
			substitution := diagonal
			if from != letter {
				substitution++
			}
			diagonal = row[j+1]
			row[j+1] = min(row[j]+1, row[j+1]+1, substitution)
		}
	}
	return row[len(to)]
}
