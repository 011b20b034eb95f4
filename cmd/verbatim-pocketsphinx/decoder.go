//go:build pocketsphinx && cgo

package main

/*
#cgo pkg-config: pocketsphinx sphinxbase
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pocketsphinx.h>
#include <sphinxbase/err.h>
#include <sphinxbase/feat.h>

// The library tells its whole configuration at every start; only errors are
// for the server's log. After a fatal one it calls exit(1).
static void log_errors(void *data, err_lvl_t level, const char *format, ...) {
	if (level < ERR_ERROR) return;
	va_list args;
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
}

// Variadic functions cannot be called from Go.
static ps_decoder_t *open_decoder(const char *hmm, const char *lm, const char *dict) {
	err_set_logfp(NULL);
	err_set_callback(log_errors, NULL);
	cmd_ln_t *config = cmd_ln_init(NULL, ps_args(), TRUE, "-hmm", hmm, "-lm", lm, "-dict", dict, NULL);
	if (config == NULL) return NULL;
	ps_decoder_t *ps = ps_init(config);
	cmd_ln_free_r(config);
	return ps;
}

// What the decoder has learnt of the microphone: the mean cepstrum, which it
// subtracts.
typedef struct { int n; int32 nframe; mfcc_t mean[64], sum[64]; } channel_t;

static void save_channel(ps_decoder_t *ps, channel_t *to) {
	cmn_t *cmn = ps_get_feat(ps)->cmn_struct;
	to->n = 0;
	if (cmn == NULL || cmn->veclen > 64) return;
	to->n = cmn->veclen;
	to->nframe = cmn->nframe;
	memcpy(to->mean, cmn->cmn_mean, to->n * sizeof(mfcc_t));
	memcpy(to->sum, cmn->sum, to->n * sizeof(mfcc_t));
}

static void restore_channel(ps_decoder_t *ps, const channel_t *from) {
	if (from->n == 0) return;
	cmn_t *cmn = ps_get_feat(ps)->cmn_struct;
	cmn->nframe = from->nframe;
	memcpy(cmn->cmn_mean, from->mean, from->n * sizeof(mfcc_t));
	memcpy(cmn->sum, from->sum, from->n * sizeof(mfcc_t));
}
*/
import "C"

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"unsafe"
)

// frameSamples is how many samples one of the decoder's frames stands for
// (-frate 100 at 16 kHz).
const frameSamples = 160

// decoder is one PocketSphinx decoder with one open stream. Times are samples
// since the beginning of the stream. It is not safe for concurrent use.
type decoder struct {
	ps      *C.ps_decoder_t
	log     *C.logmath_t
	channel C.channel_t // as it was when the utterance was started
}

// word is a recognized word, silence and noise left out.
type word struct {
	text       string
	start, end int64
	confidence float64 // of final words only
}

func openDecoder(m model) (*decoder, error) {
	hmm, lm, dict := C.CString(m.hmm), C.CString(m.lm), C.CString(m.dict)
	defer C.free(unsafe.Pointer(hmm))
	defer C.free(unsafe.Pointer(lm))
	defer C.free(unsafe.Pointer(dict))
	ps := C.open_decoder(hmm, lm, dict)
	if ps == nil {
		return nil, fmt.Errorf("pocketsphinx cannot use the model %s with %s and %s", m.hmm, m.lm, m.dict)
	}
	d := &decoder{ps: ps, log: C.ps_get_logmath(ps)}
	// Once and never again: it sets the count of samples back to 0, on which
	// the times of all words stand.
	if C.ps_start_stream(ps) < 0 {
		d.close()
		return nil, errors.New("pocketsphinx did not start the stream")
	}
	return d, nil
}

func (d *decoder) close() { C.ps_free(d.ps) }

func (d *decoder) startUtterance() error {
	if C.ps_start_utt(d.ps) < 0 {
		return errors.New("pocketsphinx did not start an utterance")
	}
	C.save_channel(d.ps, &d.channel)
	return nil
}

// forget takes back what the utterance that was ended taught about the
// microphone: one that held no words teaches wrongly. The decoder takes the
// first second of quiet in a stream for speech, and the sentence after it was
// then not to be understood (sas-0870 after 10 s of a quiet room: all 22 words
// wrong instead of 8).
func (d *decoder) forget() { C.restore_channel(d.ps, &d.channel) }

func (d *decoder) endUtterance() error {
	if C.ps_end_utt(d.ps) < 0 {
		return errors.New("pocketsphinx did not end an utterance")
	}
	return nil
}

func (d *decoder) process(pcm []int16) error {
	if C.ps_process_raw(d.ps, (*C.int16)(unsafe.SliceData(pcm)), C.size_t(len(pcm)), 0, 0) < 0 {
		return errors.New("pocketsphinx did not take the audio")
	}
	return nil
}

// inSpeech is the decoder's own voice activity detection: on after 100 ms of
// speech, off after 500 ms without.
func (d *decoder) inSpeech() bool { return C.ps_get_in_speech(d.ps) != 0 }

// words are the words of the utterance. from is where the utterance was
// started: at most 200 ms of what came before the speech belong to it, and the
// decoder counts them back from the speech even where they reach behind from.
func (d *decoder) words(from int64) []word {
	var words []word
	var shift int64
	first := true
	for seg := C.ps_seg_iter(d.ps); seg != nil; seg = C.ps_seg_next(seg) {
		var sf, ef C.int
		C.ps_seg_frames(seg, &sf, &ef)
		start, end := int64(sf)*frameSamples, int64(ef+1)*frameSamples
		if first {
			shift, first = max(0, from-start), false
		}
		text := clean(C.GoString(C.ps_seg_word(seg)))
		if text == "" || end <= start {
			continue
		}
		p := C.logmath_exp(d.log, C.ps_seg_prob(seg, nil, nil, nil))
		words = append(words, word{text: text, start: start + shift, end: end + shift, confidence: math.Min(1, float64(p))})
	}
	return words
}

// clean is the word as it is written: without the number of its pronunciation
// ("and(2)"), and nothing at all for silence and noise ("<s>", "<sil>",
// "[NOISE]", "++BREATH++").
func clean(w string) string {
	if strings.HasPrefix(w, "<") || strings.HasPrefix(w, "[") || strings.HasPrefix(w, "++") {
		return ""
	}
	if i := strings.LastIndexByte(w, '('); i > 0 && strings.HasSuffix(w, ")") {
		w = w[:i]
	}
	return w
}
