// Package wer measures recognizers in tests.
package wer

// Rate is how many words of ref are wrong in hyp: the least number of words to
// put in, leave out and replace (Levenshtein). The word error rate is
// Rate(ref, hyp) / len(ref).
func Rate(ref, hyp []string) (errors int) {
	row := make([]int, len(hyp)+1) // of the words of ref so far, against every beginning of hyp
	for j := range row {
		row[j] = j
	}
	for i, r := range ref {
		before := row[0] // the previous row, one to the left
		row[0] = i + 1
		for j, h := range hyp {
			replace := before
			if r != h {
				replace++
			}
			before = row[j+1]
			row[j+1] = min(replace, row[j]+1, before+1)
		}
	}
	return row[len(hyp)]
}

// Differ is how many words of ref are missing in hyp, and how many of hyp are not
// in ref, when as many as possible are kept in order (the longest common
// subsequence). A word that was replaced counts on both sides.
func Differ(ref, hyp []string) (missing, added int) {
	row := make([]int, len(hyp)+1) // common to the words of ref so far and every beginning of hyp
	for _, r := range ref {
		before := 0 // the previous row, one to the left
		for j, h := range hyp {
			common := max(row[j], row[j+1])
			if r == h {
				common = before + 1
			}
			before = row[j+1]
			row[j+1] = common
		}
	}
	return len(ref) - row[len(hyp)], len(hyp) - row[len(hyp)]
}
