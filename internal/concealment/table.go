package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
)

// result is the sum of lines of measure: wrong words and all words of each
// sentence.
type result struct{ wrong, words []int }

func (r result) rate(sentences []int) float64 {
	wrong, words := 0, 0
	for _, i := range sentences {
		wrong, words = wrong+r.wrong[i], words+r.words[i]
	}
	return 100 * float64(wrong) / float64(words)
}

// table makes Markdown of what measure printed; the last rows are the sums of all
// with losses.
func table(in io.Reader, out io.Writer) error {
	results := map[string]result{}
	var names, sums []string
	add := func(cell, method string, r result) {
		sum, ok := results[cell+method]
		if !ok {
			sum = result{make([]int, len(r.wrong)), make([]int, len(r.words))}
			results[cell+method] = sum
		}
		for i := range r.wrong {
			sum.wrong[i], sum.words[i] = sum.wrong[i]+r.wrong[i], sum.words[i]+r.words[i]
		}
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), "\t")
		if len(fields) < 5 {
			return fmt.Errorf("not a result: %q", lines.Text())
		}
		var r result
		for _, f := range fields[4:] {
			var wrong, words int
			if _, err := fmt.Sscanf(f, "%d/%d", &wrong, &words); err != nil {
				return fmt.Errorf("%q: %w", f, err)
			}
			r.wrong, r.words = append(r.wrong, wrong), append(r.words, words)
		}
		cell, sum := strings.Join(fields[:3], " | "), fields[0]+" | all | 2–20 %"
		if !slices.Contains(names, cell) {
			names = append(names, cell)
		}
		add(cell, fields[3], r)
		if fields[2] == "0 %" {
			continue
		}
		if !slices.Contains(sums, sum) {
			sums = append(sums, sum)
		}
		add(sum, fields[3], r)
	}
	if err := lines.Err(); err != nil {
		return err
	}
	names = append(names, sums...)
	w := bufio.NewWriter(out)
	methods := []string{"silence", "fade", "PLC", "PLC+FEC"}
	fmt.Fprintf(w, "| packets | losses | lost | words | %s |\n| --- | --- | ---: | ---: |%s\n",
		strings.Join(methods, " | "), strings.Repeat(" --- |", len(methods)))
	for _, cell := range names {
		silence := results[cell+"silence"]
		words := 0
		for _, n := range silence.words {
			words += n
		}
		fmt.Fprintf(w, "| %s | %d |", cell, words)
		for _, m := range methods {
			r, ok := results[cell+m]
			if !ok {
				fmt.Fprint(w, " – |")
				continue
			}
			fmt.Fprint(w, " ", r.describe(silence, m == "silence"), " |")
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

// describe is the count of wrong words and their share in percent, and by how
// much that differs from silence, with the interval that holds 95 % of what
// other sentences would have given (bootstrap over sentences, which were spoken
// alike for both).
func (r result) describe(silence result, self bool) string {
	all := make([]int, len(r.words))
	wrong := 0
	for i := range all {
		all[i] = i
		wrong += r.wrong[i]
	}
	s := fmt.Sprintf("%d: %.1f %%", wrong, r.rate(all))
	if self || len(silence.words) != len(r.words) {
		return s
	}
	random := rand.New(rand.NewPCG(1, 2))
	const n = 4000
	differences := make([]float64, n)
	for i := range differences {
		pick := make([]int, len(all))
		for j := range pick {
			pick[j] = random.IntN(len(all))
		}
		differences[i] = r.rate(pick) - silence.rate(pick)
	}
	slices.Sort(differences)
	return fmt.Sprintf("%s (%+.1f to %+.1f)", s, differences[n/40], differences[n-1-n/40])
}
