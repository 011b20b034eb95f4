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
