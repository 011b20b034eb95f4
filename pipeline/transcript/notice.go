package transcript

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// noticeParts is how many of the missing parts a notice names.
const noticeParts = 10

// notice says in one line that d is not complete, how much is missing, why and
// where. It is empty when there is nothing to say, and of a bounded length: of
// many parts it names the longest.
func notice(d Document) string {
	var b strings.Builder
	if !d.Complete {
		b.WriteString("This transcript is not complete.")
	}
	if len(d.Missing) == 0 {
		return b.String()
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	b.WriteString("Missing: " + strings.Join(totals(d.Missing), ", ") + ". ")
	parts := longest(d.Missing)
	if len(parts) == len(d.Missing) {
		b.WriteString("Where: ")
	} else {
		fmt.Fprintf(&b, "The %d longest of %d parts: ", len(parts), len(d.Missing))
	}
	for i, m := range parts {
		if i > 0 {
			b.WriteString("; ")
		}
		if who := cmp.Or(speaker(m.Participant), line(m.Track)); who != "" {
			b.WriteString(who + " ")
		}
		b.Write(appendTime(nil, m.StartMS, '.'))
		b.WriteString(" to ")
		b.Write(appendTime(nil, max(m.EndMS, m.StartMS), '.'))
		b.WriteString(" (" + length(m.MissingMS) + " " + line(cmp.Or(m.Reason, m.Kind.Reason(""))) + ")")
	}
	b.WriteByte('.')
	if len(parts) < len(d.Missing) {
		b.WriteString(" The JSON transcript has all of them.")
	}
	return b.String()
}

// totals says how much is missing of each kind. Kinds are not added up: what
// was skipped may hold what was lost before.
func totals(missing []Missing) (lines []string) {
	sum := map[MissingKind]int64{}
	var kinds []MissingKind
	for _, m := range missing {
		if _, ok := sum[m.Kind]; !ok {
			kinds = append(kinds, m.Kind)
		}
		sum[m.Kind] += m.MissingMS
	}
	slices.SortStableFunc(kinds, func(a, b MissingKind) int { return cmp.Compare(sum[b], sum[a]) })
	for _, k := range kinds {
		lines = append(lines, length(sum[k])+" "+line(k.Reason("")))
	}
	return lines
}

// longest are the parts of which most is missing, in the order that they had.
func longest(missing []Missing) []Missing {
	if len(missing) <= noticeParts {
		return missing
	}
	order := make([]int, len(missing))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(missing[b].MissingMS, missing[a].MissingMS) })
	order = order[:noticeParts]
	slices.Sort(order)
	parts := make([]Missing, len(order))
	for i, o := range order {
		parts[i] = missing[o]
	}
	return parts
}

// length is a length of time: 1.250 s, or 01:02:03.250 from a minute on.
func length(ms int64) string {
	if ms = max(ms, 0); ms < 60_000 {
		return fmt.Sprintf("%d.%03d s", ms/1000, ms%1000)
	}
	return string(appendTime(nil, ms, '.'))
}
