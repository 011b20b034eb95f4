// floor: the least that a server has to do for each packet of a call: receive it
// (recvmmsg), find its stream, check and decrypt it (libsrtp2), decode it to
// 16 kHz mono (libopus). It keeps no order, asks for nothing again and stores
// nothing: what a server needs beyond this is what its other work costs.
//
//	floor receive|decrypt|decode PROFILE STREAMS PAUSE
//
// PROFILE is the number of a DTLS-SRTP profile (IANA), PAUSE the microseconds
// between two batches, in which more packets gather. On stdin comes, for each
// stream, its SSRC (4 bytes, big endian), master key and salt. When it is set up
// it prints the UDP port on which it listens, on loopback. SIGTERM ends it; then
// it prints what it has done, as JSON.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <opus.h>
#include <signal.h>
#include <srtp2/srtp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	BATCH = 64,
	MTU = 1500,
	MAX_STREAMS = 10000,
	SLOTS = 1 << 15,             // of the table, a power of two: at most a third is used
	WINDOW = 1024,               // of replays
	RATE = 16000,
	MAX_SAMPLES = RATE / 25 * 3, // of an Opus packet: 120 ms
	SOCKET_BYTES = 8 << 20,      // what may wait in the kernel while others have the CPU
	RTP_HEADER = 12,
};

enum mode { RECEIVE, DECRYPT, DECODE };

struct stream {
	uint32_t ssrc;
	srtp_t srtp;
	OpusDecoder *decoder;
	uint64_t received;
	uint32_t first, highest; // extended sequence numbers
};

struct counts {
	uint64_t packets, samples, failed, batches;
};

static struct stream streams[MAX_STREAMS];
static struct stream *table[SLOTS];
static volatile sig_atomic_t stopped;

static void stop(int sig)
{
	(void)sig;
	stopped = 1;
}

// slot is where a stream is in the table, or where it would be.
static struct stream **slot(uint32_t ssrc)
{
	uint32_t i = ssrc * 2654435769u >> 17; // 15 bits: Fibonacci hashing
	while (table[i] && table[i]->ssrc != ssrc)
		i = (i + 1) % SLOTS;
	return &table[i];
}

static long number(const char *text, const char *what, long max)
{
	char *end;
	errno = 0;
	long n = strtol(text, &end, 10);
	if (errno || end == text || *end || n < 0 || n > max)
		errx(1, "%s: want a number up to %ld, not %s", what, max, text);
	return n;
}

// open_stream reads a stream's SSRC and keys from stdin.
static void open_stream(struct stream *s, enum mode mode, srtp_profile_t profile)
{
	unsigned char ssrc[4], key[SRTP_MAX_KEY_LEN];
	size_t length = srtp_profile_get_master_key_length(profile) + srtp_profile_get_master_salt_length(profile);
	if (length > sizeof key)
		errx(1, "the keys of the profile are too long");
	if (fread(ssrc, sizeof ssrc, 1, stdin) != 1 || fread(key, length, 1, stdin) != 1)
		errx(1, "stdin ended before the last stream's key");
	s->ssrc = (uint32_t)ssrc[0] << 24 | (uint32_t)ssrc[1] << 16 | (uint32_t)ssrc[2] << 8 | ssrc[3];
	struct stream **at = slot(s->ssrc);
	if (*at)
		errx(1, "two streams have the SSRC %" PRIu32, s->ssrc);
	*at = s;

	if (mode >= DECRYPT) {
		srtp_policy_t policy = {
			.ssrc = {.type = ssrc_specific, .value = s->ssrc},
			.key = key,
			.window_size = WINDOW,
		};
		srtp_err_status_t e = srtp_crypto_policy_set_from_profile_for_rtp(&policy.rtp, profile);
		if (!e)
			e = srtp_crypto_policy_set_from_profile_for_rtcp(&policy.rtcp, profile);
		if (!e)
			e = srtp_create(&s->srtp, &policy);
		if (e)
			errx(1, "libsrtp2: no stream with profile %d: error %d", profile, e);
	}
	if (mode >= DECODE) {
		int e;
		s->decoder = opus_decoder_create(RATE, 1, &e);
		if (e != OPUS_OK)
			errx(1, "libopus: %s", opus_strerror(e));
	}
}

static int open_socket(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (fd < 0)
		err(1, "socket");
	// Root may have more than the system's limit; others get up to that.
	int size = SOCKET_BYTES;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) &&
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size))
		err(1, "set the size of the socket's buffer");
	// A signal that comes before the call waits for no packet.
	struct timeval patience = {.tv_usec = 50000};
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience))
		err(1, "set the socket's timeout");
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t length = sizeof addr;
	if (bind(fd, (struct sockaddr *)&addr, sizeof addr) || getsockname(fd, (struct sockaddr *)&addr, &length))
		err(1, "listen on loopback");
	printf("%d\n", ntohs(addr.sin_port));
	if (fflush(stdout))
		err(1, "write to stdout");
	return fd;
}

// count_sequence notes a packet's sequence number, for what is missing in the end.
static void count_sequence(struct stream *s, uint16_t seq)
{
	if (s->received++ == 0)
		s->first = s->highest = 0x10000 + seq; // the first may have been overtaken
	int16_t step = (int16_t)(seq - (uint16_t)s->highest);
	if (step > 0)
		s->highest += step;
	else if (s->highest + step < s->first)
		s->first = s->highest + step;
}

// header_length is that of an RTP header (RFC 3550, 5.1), -1 if the packet has no
// room for it.
static int header_length(const unsigned char *p, int length)
{
	int n = RTP_HEADER + 4 * (p[0] & 0x0f);
	if (p[0] & 0x10) {
		if (n + 4 > length)
			return -1;
		n += 4 + 4 * (p[n + 2] << 8 | p[n + 3]);
	}
	return n <= length ? n : -1;
}

// take does everything for one packet. Its result is false for one that is not
// of a stream, or that a library refused.
static bool take(unsigned char *p, int length, enum mode mode, struct counts *c)
{
	if (length < RTP_HEADER || p[0] >> 6 != 2)
		return false;
	uint32_t ssrc = (uint32_t)p[8] << 24 | (uint32_t)p[9] << 16 | (uint32_t)p[10] << 8 | p[11];
	struct stream *s = *slot(ssrc);
	if (!s)
		return false;
	if (mode >= DECRYPT && srtp_unprotect(s->srtp, p, &length))
		return false;
	count_sequence(s, (uint16_t)(p[2] << 8 | p[3]));
	if (mode >= DECODE) {
		int header = header_length(p, length);
		if (header < 0)
			return false;
		opus_int16 pcm[MAX_SAMPLES];
		int n = opus_decode(s->decoder, p + header, length - header, pcm, MAX_SAMPLES, 0);
		if (n < 0)
			return false;
		c->samples += (uint64_t)n;
	}
	return true;
}

// run takes packets until SIGTERM, and then what waits in the socket.
static void run(int fd, enum mode mode, long pause, struct counts *c)
{
	// Aligned for libsrtp2, which reads words.
	static _Alignas(16) unsigned char buffers[BATCH][(MTU + 15) / 16 * 16];
	static struct iovec parts[BATCH];
	static struct mmsghdr batch[BATCH];
	for (int i = 0; i < BATCH; i++) {
		parts[i] = (struct iovec){buffers[i], MTU};
		batch[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
	}
	struct timespec rest = {.tv_sec = pause / 1000000, .tv_nsec = pause % 1000000 * 1000};
	for (;;) {
		int n = recvmmsg(fd, batch, BATCH, MSG_WAITFORONE, NULL);
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			err(1, "recvmmsg");
		if (n <= 0) {
			if (stopped)
				return;
			continue;
		}
		c->batches++;
		for (int i = 0; i < n; i++) {
			c->packets++;
			if (!take(buffers[i], (int)batch[i].msg_len, mode, c))
				c->failed++;
		}
		if (pause && n < BATCH)
			nanosleep(&rest, NULL);
	}
}

// cpu_us is the CPU time of the process, user and system, in microseconds.
static double cpu_us(void)
{
	struct rusage u;
	if (getrusage(RUSAGE_SELF, &u))
		err(1, "getrusage");
	return 1e6 * (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

// rss_kb is not ru_maxrss, which has that of the process that started this one.
static long rss_kb(void)
{
	long size, resident;
	FILE *f = fopen("/proc/self/statm", "r");
	if (!f || fscanf(f, "%ld %ld", &size, &resident) != 2)
		err(1, "read /proc/self/statm");
	fclose(f);
	return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

int main(int argc, char **argv)
{
	static const char *const modes[] = {"receive", "decrypt", "decode"};
	if (argc != 5)
		errx(1, "usage: floor receive|decrypt|decode PROFILE STREAMS PAUSE");
	enum mode mode = RECEIVE;
	while (strcmp(argv[1], modes[mode]))
		if (mode++ == DECODE)
			errx(1, "there is no mode %s", argv[1]);
	srtp_profile_t profile = (srtp_profile_t)number(argv[2], "PROFILE", UINT16_MAX);
	long n = number(argv[3], "STREAMS", MAX_STREAMS), pause = number(argv[4], "PAUSE", 1000000);

	struct sigaction action = {.sa_handler = stop};
	if (sigaction(SIGTERM, &action, NULL))
		err(1, "sigaction");
	if (srtp_init())
		errx(1, "libsrtp2 does not start");
	for (long i = 0; i < n; i++)
		open_stream(&streams[i], mode, profile);
	int fd = open_socket();

	struct counts c = {0};
	double before = cpu_us();
	run(fd, mode, pause, &c);
	double used = cpu_us() - before;

	uint64_t lost = 0;
	for (long i = 0; i < n; i++)
		if (streams[i].received)
			lost += streams[i].highest - streams[i].first + 1 - streams[i].received;
	printf("{\"packets\":%" PRIu64 ",\"samples\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"failed\":%" PRIu64
	       ",\"batches\":%" PRIu64 ",\"cpu_us_per_packet\":%.3f,\"rss_kb\":%ld}\n",
	       c.packets, c.samples, lost, c.failed, c.batches, c.packets ? used / (double)c.packets : 0, rss_kb());
	if (fflush(stdout))
		err(1, "write to stdout");
	return 0;
}
